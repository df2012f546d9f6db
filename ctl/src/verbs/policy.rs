//! `policy`: what is kept of the versions of a name by itself.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use snap_api::{KeepRules, PolicyListRequest, PolicyRequest, PolicySetRequest, PolicyView};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, facts, table},
    session::{RETENTION, Session, answer},
    verbs::forget::KeepArgs,
    words::{moment, span},
};

/// Says what is kept of the versions of a name by itself.
///
/// The daemon does by a policy what `snapctl forget` does by its options: after each create under the name, and with each look for
/// expired snapshots. What is pinned, in use, or has a tag stays. `snapctl forget NAME … --dry-run` foretells what a policy would do.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl policy set web --keep-last 5 --keep-daily 7 --keep-weekly 4
  snapctl policy show
  snapctl policy remove web")]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
enum PolicyVerb {
    Set(PolicySetArgs),
    #[command(visible_alias = "list")]
    Show(PolicyShowArgs),
    #[command(visible_alias = "rm")]
    Remove(PolicyRemoveArgs),
}

/// Stores what is kept of the versions of a name, in place of what was stored.
///
/// The rules are those of `snapctl forget`. The name need not have versions yet. Nothing is removed at once: the next create under the
/// name, or the next look for expired snapshots, does.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl policy set web --keep-last 5
  snapctl policy set nightly --keep-daily 7 --keep-weekly 4 --keep-monthly 12")]
struct PolicySetArgs {
    /// The name, without a tag
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    keep: KeepArgs,
}

/// Shows what is kept of the versions of one name, or of every name that has a policy.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl policy show
  snapctl policy show web -o json

With --quiet it prints the names; with --output json an array of policies.")]
struct PolicyShowArgs {
    /// The name, without a tag [default: all of them]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The policies of every namespace
    #[arg(long, short = 'A', conflicts_with = "name")]
    all_namespaces: bool,
}

/// Keeps all versions of a name again.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl policy remove web")]
struct PolicyRemoveArgs {
    /// The name, without a tag
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs `policy`.
pub(crate) async fn policy(session: &Session, args: PolicyArgs) -> Result<(), Failure> {
    session.require(RETENTION)?;
    match args.verb {
        PolicyVerb::Set(args) => set(session, args).await,
        PolicyVerb::Show(args) => show(session, args).await,
        PolicyVerb::Remove(args) => remove(session, args).await,
    }
}

async fn set(session: &Session, args: PolicySetArgs) -> Result<(), Failure> {
    let request = PolicySetRequest {
        namespace: session.namespace.clone(),
        name: args.name,
        keep: args.keep.rules(),
    };
    let policy = answer(session.client.policy_set(session.soon(), request).await)?;
    show_one(session, &policy)
}

async fn remove(session: &Session, args: PolicyRemoveArgs) -> Result<(), Failure> {
    let request = PolicyRequest {
        namespace: session.namespace.clone(),
        name: args.name,
    };
    let removed = answer(session.client.policy_remove(session.soon(), request).await)?;
    session.screen.show(&removed, &[&removed.name], || {
        format!("All versions of {} are kept\n", removed.name)
    })
}

async fn show(session: &Session, args: PolicyShowArgs) -> Result<(), Failure> {
    let policies: Vec<PolicyView> = session
        .collect(async |cursor| {
            let request = PolicyListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                name: args.name.clone(),
                cursor,
                limit: 0,
            };
            answer(session.client.policy_list(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => policies.iter().try_for_each(|one| screen.line(&one.name)),
        Form::Table => screen.text(&render(&policies, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            policies.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

fn show_one(session: &Session, policy: &PolicyView) -> Result<(), Failure> {
    session.screen.show(policy, &[&policy.name], || {
        facts(&[
            ("Name", policy.name.clone()),
            ("Namespace", policy.namespace.clone()),
            ("Keeps", keeps(&policy.keep)),
        ])
    })
}

fn render(policies: &[PolicyView], now: SystemTime) -> String {
    let row = |one: &PolicyView| {
        let rests = one.rests_until.as_ref();
        let rests = rests.map(|until| format!("; rests until {}", moment(until, now)));
        let keeps = format!("{}{}", keeps(&one.keep), rests.unwrap_or_default());
        vec![one.namespace.clone(), one.name.clone(), keeps]
    };
    let rows: Vec<_> = policies.iter().map(row).collect();
    table(&["NAMESPACE", "NAME", "KEEPS"], &rows, &[])
}

/// The rules in the words of their options.
fn keeps(rules: &KeepRules) -> String {
    let counted = [
        ("last", rules.last),
        ("hourly", rules.hourly),
        ("daily", rules.daily),
        ("weekly", rules.weekly),
        ("monthly", rules.monthly),
        ("yearly", rules.yearly),
    ];
    let counted = counted.into_iter().filter(|(_, most)| *most > 0);
    let mut all: Vec<String> = counted
        .map(|(word, most)| match most {
            u32::MAX => format!("{word} unlimited"),
            most => format!("{word} {most}"),
        })
        .collect();
    if rules.within_seconds > 0 {
        all.push(format!("within {}", span(rules.within_seconds)));
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_told_in_the_words_of_its_options() {
        let policy = |name: &str, keep, rests: Option<&str>| PolicyView {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            keep,
            rests_until: rests.map(str::to_owned),
        };
        let few = KeepRules {
            last: 3,
            daily: 7,
            ..KeepRules::default()
        };
        let many = KeepRules {
            yearly: u32::MAX,
            within_seconds: 90_000,
            ..KeepRules::default()
        };
        let policies = [
            policy("app", few, None),
            policy("web", many, Some("2020-01-01T02:00:00Z")),
        ];
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
        assert_eq!(
            render(&policies, now),
            "\
NAMESPACE  NAME  KEEPS
default    app   last 3, daily 7
default    web   yearly unlimited, within 1d 1h; rests until 2020-01-01T02:00:00Z (in 2h)
"
        );
    }
}

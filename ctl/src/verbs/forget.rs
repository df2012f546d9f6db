//! `forget`: removing the versions of names that no rule keeps.

use std::time::SystemTime;

use clap::Args;
use snap_api::{ForgetRequest, ForgetVerdict, ForgetView, HeldBy, HoldKind, KeepRules};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, table},
    session::{RETENTION, Session, answer},
    values,
    words::{count, relative, short_id, wire_word},
};

/// Removes the versions of names that no rule keeps.
///
/// A version stays when at least one of the rules names it: it is among the last N, the newest of an hour, day, week, month or year
/// among the last N of those that have one, or made within a time before the newest version. Hours, days, weeks (from Monday on),
/// months and years are those of UTC. The newest version always stays, and while a rule has not kept as many as it may, so does the
/// oldest. N may be `unlimited`.
///
/// What is pinned, what a container or a folder uses, what NAME:latest or another tag points to, and what is not active stays whatever the
/// rules say. Other names, and snapshots without a name, are not looked at.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl forget web --keep-last 5 --dry-run
  snapctl forget web db --keep-daily 7 --keep-weekly 4 --keep-monthly 12
  snapctl forget --all-names --keep-within 30d --keep-last 1

With --quiet it prints the ids of what is removed; with --output json an array of versions, each with its verdict and why.")]
pub(crate) struct ForgetArgs {
    /// The names, without tags
    #[arg(value_name = "NAME", required_unless_present = "all_names")]
    names: Vec<String>,
    #[command(flatten)]
    keep: KeepArgs,
    /// Every name of the namespace
    #[arg(long, conflicts_with = "names")]
    all_names: bool,
    /// Say what would be removed, and why not, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is kept.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct KeepArgs {
    /// Keep the last N versions
    #[arg(long, value_name = "N", value_parser = values::kept)]
    keep_last: Option<u32>,
    /// Keep the newest version of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = values::kept)]
    keep_hourly: Option<u32>,
    /// Keep the newest version of each of the last N days that have one
    #[arg(long, value_name = "N", value_parser = values::kept)]
    keep_daily: Option<u32>,
    /// Keep the newest version of each of the last N weeks that have one
    #[arg(long, value_name = "N", value_parser = values::kept)]
    keep_weekly: Option<u32>,
    /// Keep the newest version of each of the last N months that have one
    #[arg(long, value_name = "N", value_parser = values::kept)]
    keep_monthly: Option<u32>,
    /// Keep the newest version of each of the last N years that have one
    #[arg(long, value_name = "N", value_parser = values::kept)]
    keep_yearly: Option<u32>,
    /// Keep versions made within this time before the newest, as in 30d
    #[arg(long, value_name = "DURATION", value_parser = values::seconds)]
    keep_within: Option<u64>,
}

impl KeepArgs {
    /// The rules as the daemon takes them.
    pub(crate) fn rules(&self) -> KeepRules {
        KeepRules {
            last: self.keep_last.unwrap_or(0),
            hourly: self.keep_hourly.unwrap_or(0),
            daily: self.keep_daily.unwrap_or(0),
            weekly: self.keep_weekly.unwrap_or(0),
            monthly: self.keep_monthly.unwrap_or(0),
            yearly: self.keep_yearly.unwrap_or(0),
            within_seconds: self.keep_within.unwrap_or(0),
        }
    }
}

/// Runs `forget`.
pub(crate) async fn forget(session: &Session, args: ForgetArgs) -> Result<(), Failure> {
    session.require(RETENTION)?;
    let versions: Vec<ForgetView> = session
        .collect(async |cursor| {
            let request = ForgetRequest {
                namespace: session.namespace.clone(),
                names: args.names.clone(),
                all_names: args.all_names,
                keep: args.keep.rules(),
                dry_run: args.dry_run,
                cursor,
                limit: 0,
            };
            answer(session.client.forget(session.at_last(), request).await)
        })
        .await?;
    let screen = &session.screen;
    let removed = |one: &&ForgetView| one.verdict == ForgetVerdict::Remove;
    match screen.form() {
        Form::Quiet => {
            let mut removed = versions.iter().filter(removed);
            removed.try_for_each(|one| screen.line(&one.snapshot))
        }
        Form::Table => screen.text(&render(&versions, args.dry_run, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            versions.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

fn render(versions: &[ForgetView], dry_run: bool, now: SystemTime) -> String {
    let row = |one: &ForgetView| {
        vec![
            format!("{}:{}", one.name, one.version),
            short_id(&one.snapshot).to_owned(),
            relative(&one.created_at, now),
            wire_word(one.verdict),
            why(one),
        ]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    let head = ["VERSION", "ID", "CREATED", "VERDICT", "WHY"];
    let removed = versions
        .iter()
        .filter(|one| one.verdict == ForgetVerdict::Remove)
        .count();
    let (removed, all) = (removed as u64, versions.len() as u64);
    let said = match dry_run {
        true => "Would remove",
        false => "Removed",
    };
    let table = table(&head, &rows, &[]);
    format!("{table}{said} {removed} of {}\n", count(all, "version"))
}

/// The rules that keep a version, and what else holds it.
fn why(one: &ForgetView) -> String {
    let rules = one.kept_by.iter().map(wire_word);
    let held = one.held_by.iter().map(held);
    let all: Vec<String> = rules.chain(held).collect();
    match all.is_empty() {
        true => "-".to_owned(),
        false => all.join(", "),
    }
}

fn held(by: &HeldBy) -> String {
    let name = by.name.as_deref().unwrap_or_default();
    match by.kind {
        HoldKind::Pinned => "pinned".to_owned(),
        HoldKind::Tag => format!("tag {name}"),
        HoldKind::Version => format!("version {name}"),
        HoldKind::Container => format!("container {name}"),
        HoldKind::Folder => format!("folder {name}"),
        HoldKind::Volume => format!("volume {name}"),
        HoldKind::State => format!("is {name}"),
        HoldKind::Changed => "changed meanwhile".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use snap_api::KeepRule;

    use super::*;

    #[test]
    fn every_version_has_its_verdict_and_why() {
        let version =
            |version: u64, verdict, kept_by: &[KeepRule], held_by: &[HeldBy]| ForgetView {
                name: "web".to_owned(),
                version,
                snapshot: "0123456789abcdef0123456789abcdef".to_owned(),
                created_at: "2019-12-31T22:00:00Z".to_owned(),
                verdict,
                kept_by: kept_by.to_vec(),
                held_by: held_by.to_vec(),
            };
        let tag = HeldBy {
            kind: HoldKind::Tag,
            name: Some("web:stable".to_owned()),
        };
        let pinned = HeldBy {
            kind: HoldKind::Pinned,
            name: None,
        };
        let kept = [KeepRule::Last, KeepRule::Daily];
        let versions = [
            version(3, ForgetVerdict::Keep, &kept, std::slice::from_ref(&tag)),
            version(2, ForgetVerdict::Held, &[], &[pinned, tag]),
            version(1, ForgetVerdict::Remove, &[], &[]),
        ];
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
        assert_eq!(
            render(&versions, true, now),
            "\
VERSION  ID            CREATED  VERDICT  WHY
web:3    0123456789ab  2h ago   keep     last, daily, tag web:stable
web:2    0123456789ab  2h ago   held     pinned, tag web:stable
web:1    0123456789ab  2h ago   remove   -
Would remove 1 of 3 versions
"
        );
    }
}

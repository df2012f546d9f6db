//! `template`: environments that are made once and started often.

mod shown;

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::{Args, Subcommand};
use snap_api::{
    Built, JobOutcome, ListRequest, StepSource, Template, TemplateBuildRequest, TemplatePlan,
    TemplateRequest, TemplateView, WirePath,
};

use crate::{
    failure::Failure,
    follow::{self, Followed, Waiting},
    screen::{Form, JsonArray},
    session::{Session, TEMPLATES, answer},
    verbs::clone::{self, Clone},
};

pub(crate) use shown::show_built;
use shown::{listed, planned, shown};

/// Makes environments once, as a file says, to start containers from.
///
/// A template is a TOML file: a base image or snapshot, and steps that run commands, copy files and clone repositories. `template build`
/// runs the steps in a container, makes what they come to the next version of the template's name, and registers it; `snapctl run` starts
/// containers from it. A step is run again only when something it depends on has changed. docs/templates.md describes the file.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl template build shop.toml
  snapctl template refresh shop
  snapctl template list
  snapctl run shop -- node server.js")]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    verb: TemplateVerb,
}

#[derive(Debug, Subcommand)]
enum TemplateVerb {
    Build(BuildArgs),
    Refresh(RefreshArgs),
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Show(ShowArgs),
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
}

/// Builds a template and registers it under its name.
///
/// Steps run in a container of their own, without a network unless the template asks for that of the host; their output goes to stderr.
/// Repositories are cloned by this command, with the rights and the settings of whoever calls it, and the branch's head decides whether the
/// step is run. When a step or the probe fails, the name and what it points to stay as they were.
///
/// To copy files, clone repositories, use the host's network or capture memory needs root.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl template build shop.toml
  snapctl template build shop.toml --branch fix-42 --version fix-42
  snapctl template build shop.toml --base-image docker.io/library/debian:13

With --quiet it prints the id of the version's snapshot.")]
struct BuildArgs {
    /// The template's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    how: How,
}

/// What of the file is to be otherwise.
#[derive(Debug, Default, Args)]
struct Changes {
    /// The template's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The branch of every repository
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// The tag of the version
    #[arg(long, value_name = "TAG")]
    version: Option<String>,
    /// The repository, when there is one step that clones
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
    /// The image to begin with
    #[arg(long, value_name = "IMAGE")]
    base_image: Option<String>,
}

#[derive(Debug, Default, Args)]
struct How {
    /// Run every step, whatever earlier builds have left
    #[arg(long)]
    no_cache: bool,
    /// Say what would be run, and build nothing
    #[arg(long)]
    dry_run: bool,
}

/// Builds a registered template again when something it depends on has changed.
///
/// What counts is the base image, the heads of branches and the files that are copied. The name moves to the new version once the probe has
/// passed; the old versions stay, and `snapctl rollback NAME` goes back at once.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl template refresh shop
  snapctl template refresh shop --dry-run

With --quiet it prints the id of the version's snapshot.")]
struct RefreshArgs {
    /// The template
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    how: How,
}

/// Lists registered templates.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl template list
  snapctl template list -A -o json

With --quiet it prints the names; with --output json an array of templates.")]
struct ListArgs {
    /// The templates of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// Shows a registered template: how it is made and what containers are started from.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl template show shop
  snapctl template show shop -o json")]
struct ShowArgs {
    /// The template
    #[arg(value_name = "NAME")]
    name: String,
}

/// Forgets a template and the results of its steps.
///
/// The versions made by it stay, with their names: `snapctl remove` removes them.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl template remove shop")]
struct RemoveArgs {
    /// The template
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs `template`.
pub(crate) async fn template(session: &Session, args: TemplateArgs) -> Result<(), Failure> {
    session.require(TEMPLATES)?;
    match args.verb {
        TemplateVerb::Build(args) => build(session, args).await,
        TemplateVerb::Refresh(args) => refresh(session, &args).await,
        TemplateVerb::List(args) => list(session, &args).await,
        TemplateVerb::Show(args) => show(session, args).await,
        TemplateVerb::Remove(args) => remove(session, args).await,
    }
}

async fn build(session: &Session, args: BuildArgs) -> Result<(), Failure> {
    let template = args.changes.apply(read(&args.file)?)?;
    build_or_tell(session, template, &args.how).await
}

async fn refresh(session: &Session, args: &RefreshArgs) -> Result<(), Failure> {
    let view = registered(session, &args.name).await?;
    build_or_tell(session, view.template, &args.how).await
}

async fn build_or_tell(session: &Session, template: Template, how: &How) -> Result<(), Failure> {
    let request = request(session, template, how.no_cache, None);
    if how.dry_run {
        let request = located(request)?;
        let plan = ask_plan(session, &request).await?;
        return session.screen.show(&plan, &[&plan.key], || planned(&plan));
    }
    let built = make(session, request).await?;
    show_built(&session.screen, &built)
}

/// A template's file; what it says of the host begins where the file is.
pub(crate) fn read(file: &Path) -> Result<Template, Failure> {
    let failed = |error| Failure::io("read", file, &error);
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let mut template = Template::parse(&text, &file.display().to_string())?;
    let folder = file.canonicalize().map_err(failed)?;
    let folder = folder.parent().unwrap_or(Path::new("/"));
    for step in &mut template.steps {
        if let Some(copy) = &mut step.copy {
            copy.from = clone::absolute(folder, &copy.from);
        }
        if let Some(git) = &mut step.git
            && git.repository.starts_with('.')
        {
            git.repository = clone::absolute(folder, &git.repository);
        }
    }
    Ok(template)
}

impl Changes {
    fn apply(self, mut template: Template) -> Result<Template, Failure> {
        if let Some(name) = self.name {
            template.name = name;
        }
        if self.version.is_some() {
            template.version = self.version;
        }
        if let Some(image) = self.base_image {
            template.base.image = Some(image);
            template.base.snapshot = None;
        }
        let mut repositories: Vec<_> = template
            .steps
            .iter_mut()
            .filter_map(|step| step.git.as_mut())
            .collect();
        if self.branch.is_some() && repositories.is_empty() {
            let message = "--branch is given, and no step of the template clones a repository";
            return Err(Failure::usage("no-repository", message));
        }
        if let Some(branch) = &self.branch {
            repositories
                .iter_mut()
                .for_each(|git| git.branch = Some(branch.clone()));
        }
        match (self.repository, &mut repositories[..]) {
            (None, _) => {}
            (Some(repository), [git]) => git.repository = repository,
            (Some(_), all) => {
                let message = format!("--repository is given, and {} steps clone one", all.len());
                return Err(Failure::usage("no-repository", message));
            }
        }
        template.check()?;
        Ok(template)
    }
}

/// A build of the template; what its repositories stand at is yet to be found out.
pub(crate) fn request(
    session: &Session,
    template: Template,
    no_cache: bool,
    reason: Option<String>,
) -> TemplateBuildRequest {
    TemplateBuildRequest {
        namespace: session.namespace.clone(),
        template,
        sources: Vec::new(),
        reason,
        no_cache,
    }
}

/// Finds out what is to be done, clones what is needed for it, and has it done.
pub(crate) async fn make(
    session: &Session,
    request: TemplateBuildRequest,
) -> Result<Built, Failure> {
    let mut request = located(request)?;
    let plan = ask_plan(session, &request).await?;
    let mut clones: Vec<Clone> = Vec::new();
    for source in &mut request.sources {
        let is_cached = plan
            .steps
            .get(source.step as usize)
            .is_some_and(|step| step.cached);
        let step = request.template.steps.get(source.step as usize);
        let Some(git) = step.and_then(|step| step.git.as_ref()) else {
            continue;
        };
        if !plan.unchanged && !is_cached {
            let made = Clone::make(git, &source.commit)?;
            source.folder = Some(WirePath::from(made.path().as_path()));
            clones.push(made);
        }
    }
    let start = session
        .client
        .template_build_start(session.at_last(), request);
    let followed = follow::run_aloud(session, Waiting::Wait, start).await?;
    drop(clones);
    match followed {
        Followed::Ended(JobOutcome::Built(built)) => Ok(*built),
        _ => Err(Failure::usage(
            "no-outcome",
            "The build ended without saying what came of it",
        )),
    }
}

/// The request with the commits its branches stand at now.
fn located(mut request: TemplateBuildRequest) -> Result<TemplateBuildRequest, Failure> {
    for (index, step) in request.template.steps.iter().enumerate() {
        if let Some(git) = &step.git {
            request.sources.push(StepSource {
                step: u32::try_from(index).unwrap_or(u32::MAX),
                commit: clone::head(git)?,
                folder: None,
            });
        }
    }
    Ok(request)
}

async fn ask_plan(
    session: &Session,
    request: &TemplateBuildRequest,
) -> Result<TemplatePlan, Failure> {
    let asked = session
        .client
        .template_plan(session.at_last(), request.clone());
    answer(asked.await)
}

/// A template by its name.
pub(crate) async fn registered(session: &Session, name: &str) -> Result<TemplateView, Failure> {
    let request = TemplateRequest {
        namespace: session.namespace.clone(),
        name: name.to_owned(),
    };
    answer(session.client.template_show(session.soon(), request).await)
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let templates: Vec<TemplateView> = session
        .collect(async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                ..ListRequest::default()
            };
            answer(session.client.template_list(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => templates.iter().try_for_each(|one| screen.line(&one.name)),
        Form::Table => screen.text(&listed(&templates, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            templates.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

async fn show(session: &Session, args: ShowArgs) -> Result<(), Failure> {
    let view = registered(session, &args.name).await?;
    session
        .screen
        .show(&view, &[&view.name], || shown(&view, SystemTime::now()))
}

async fn remove(session: &Session, args: RemoveArgs) -> Result<(), Failure> {
    let request = TemplateRequest {
        namespace: session.namespace.clone(),
        name: args.name,
    };
    let removed = answer(
        session
            .client
            .template_remove(session.soon(), request)
            .await,
    )?;
    session.screen.show(&removed, &[&removed.name], || {
        format!(
            "Template {} is forgotten; its versions stay\n",
            removed.name
        )
    })
}

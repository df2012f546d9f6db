//! Templates: who may build them, and what is asked about them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use snap_api::{
    BuildNetwork, JobOutcome, JobStarted, ListRequest, Page, StepSource, Template,
    TemplateBuildRequest, TemplatePlan, TemplateRequest, TemplateView, Ttl,
};
use snap_fs::capture::Exclude;

use super::{
    page::{self, PageBuilder},
    parse,
    peer::Peer,
};
use crate::{
    blocking, clock,
    collect::relief,
    error::Result,
    host::Host,
    jobs::{JobKind, JobRequest},
    quota,
    template::{self, BuildPlan, Source},
};

/// How long the results of steps are kept without a use where snapshots are kept for ever, in seconds.
const STEP_SECONDS: u64 = 14 * 24 * 60 * 60;
const MAX_REASON_BYTES: usize = 1000;

pub(super) async fn plan(
    host: &Arc<Host>,
    peer: Peer,
    request: TemplateBuildRequest,
) -> Result<TemplatePlan> {
    let plan = build_plan(host, peer, request)?;
    template::plan(host, &plan).await
}

pub(super) async fn build(
    host: &Arc<Host>,
    peer: Peer,
    request: TemplateBuildRequest,
) -> Result<JobStarted> {
    let plan = build_plan(host, peer, request)?;
    quota::admit(host, &plan.namespace).await?;
    relief::admit(host).await?;
    // What would end it before its first step is told at once.
    template::plan(host, &plan).await?;
    let request = JobRequest {
        kind: JobKind::Build,
        namespace: plan.namespace.clone(),
        subject: plan.name.name().to_owned(),
        snapshot: None,
        key: None,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(request, move |job| async move {
        let mut built = template::build(&job_host, plan, &job).await?;
        super::work::bound(&mut built.warnings);
        Ok(JobOutcome::Built(Box::new(built)))
    })
}

fn build_plan(host: &Host, peer: Peer, request: TemplateBuildRequest) -> Result<BuildPlan> {
    let template = request.template;
    template.check()?;
    require_rights(peer, &template)?;
    parse::labels(&template.labels)?;
    Exclude::new(&template.exclude)?;
    if let Some(seconds) = template.ttl_seconds {
        parse::expiry(Ttl::Seconds(seconds), None, clock::now())?;
    }
    let mut sources = BTreeMap::new();
    for source in request.sources {
        let (index, source) = step_source(&template, source)?;
        sources.insert(index, source);
    }
    let reason = request.reason.map(|reason| {
        let plain = |letter: &char| !letter.is_control();
        reason
            .chars()
            .filter(plain)
            .take(MAX_REASON_BYTES)
            .collect()
    });
    let name = parse::bare_name(&template.name)?;
    let namespace = parse::namespace(&request.namespace)?;
    host.catalogue.require_free(&namespace, &name)?;
    for copy in template.steps.iter().filter_map(|step| step.copy.as_ref()) {
        Exclude::new(&copy.exclude)?;
        parse::host_path(&snap_api::WirePath::new(copy.from.as_bytes()))?;
    }
    Ok(BuildPlan {
        namespace,
        name,
        sources,
        reason,
        no_cache: request.no_cache,
        step_seconds: host
            .config
            .default_ttl
            .map_or(STEP_SECONDS, |ttl| ttl.as_secs()),
        template,
    })
}

/// Commands run in a container, as whoever may restore can run them; what reaches the host's files, its network or memory is root's.
fn require_rights(peer: Peer, template: &Template) -> Result<()> {
    let reads_files = |step: &snap_api::Step| step.copy.is_some() || step.git.is_some();
    if template.steps.iter().any(reads_files) {
        peer.require_root("build a template that copies files of the host or clones a repository")?;
    }
    if template.network != BuildNetwork::None {
        peer.require_root("build a template in the network of the host")?;
    }
    match template.memory {
        true => peer.require_root_for_memory(),
        false => Ok(()),
    }
}

fn step_source(template: &Template, source: StepSource) -> Result<(usize, Source)> {
    let StepSource {
        step,
        commit,
        folder,
    } = source;
    let index = step as usize;
    let clones = template
        .steps
        .get(index)
        .is_some_and(|step| step.git.is_some());
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !clones || !matches!(commit.len(), 40 | 64) || !commit.bytes().all(is_digit) {
        let message = format!(
            "Step {} clones nothing, or `{}` is no commit",
            step + 1,
            commit.escape_debug()
        );
        return Err(parse::usage("invalid-source", message));
    }
    let folder: Option<PathBuf> = folder.as_ref().map(parse::host_path).transpose()?;
    Ok((index, Source { commit, folder }))
}

pub(super) async fn list(host: &Arc<Host>, request: &ListRequest) -> Result<Page<TemplateView>> {
    parse::plain_list(request)?;
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let catalogue = Arc::clone(&host.catalogue);
    let mut found = blocking(move || catalogue.templates(namespace.as_ref())).await?;
    if let Some(cursor) = &request.cursor {
        let (namespace, name) = cursor.split_once(' ').ok_or_else(page::invalid)?;
        found.retain(|one| (one.namespace.as_str(), one.name.name()) > (namespace, name));
    }
    let mut page = PageBuilder::new(parse::page_limit(request.limit));
    for one in &found {
        if page.is_full() {
            break;
        }
        let cursor = format!("{} {}", one.namespace, one.name.name());
        page.push(template::view(host, one).await?, cursor);
    }
    Ok(page.finish())
}

pub(super) async fn show(host: &Arc<Host>, request: &TemplateRequest) -> Result<TemplateView> {
    let namespace = parse::namespace(&request.namespace)?;
    let name = parse::bare_name(&request.name)?;
    let catalogue = Arc::clone(&host.catalogue);
    let found = blocking(move || catalogue.template(&namespace, &name)).await?;
    template::view(host, &found).await
}

pub(super) async fn remove(host: &Arc<Host>, request: &TemplateRequest) -> Result<TemplateView> {
    let namespace = parse::namespace(&request.namespace)?;
    let name = parse::bare_name(&request.name)?;
    template::remove(host, &namespace, &name).await
}

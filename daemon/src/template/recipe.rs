//! What a build comes to: its base, its steps with their keys, and which of them earlier builds have left.

use std::{path::PathBuf, sync::Arc};

use snap_api::{ErrorCode, ErrorReport, PlannedStep, Step, TemplatePlan};
use snap_fs::capture::Exclude;
use snap_store::{Namespace, Reference, SnapshotName, SnapshotRecord};

use super::{BuildPlan, image::Image, key, registry, usable};
use crate::{blocking, error::Result, host::Host, jobs::JobHandle, transfer};

/// Digits of a commit in the tag of a version.
const SHORT_COMMIT: usize = 12;
/// Longest tag.
const MAX_TAG_BYTES: usize = 128;

/// Where a build begins.
#[derive(Debug)]
pub(super) enum Ground {
    /// An image, and its snapshot when an earlier build has left it.
    Image(Image, Option<Box<SnapshotRecord>>),
    /// A snapshot.
    Snapshot(Box<SnapshotRecord>),
}

/// A build before it is begun.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) ground: Ground,
    /// The key of the base.
    pub(super) base_key: String,
    pub(super) works: Vec<Work>,
    /// The key of the whole.
    pub(super) key: String,
    /// The name the version gets, with its tag.
    pub(super) name: SnapshotName,
}

/// A step with what it depends on.
#[derive(Debug)]
pub(super) struct Work {
    /// Its place, from 0 on.
    pub(super) index: usize,
    pub(super) step: Step,
    /// The key of its result.
    pub(super) key: String,
    /// The digest of what it copies.
    pub(super) digest: Option<String>,
    /// Its result, when an earlier build has left it.
    found: Option<SnapshotRecord>,
}

/// What building would come to; nothing is changed.
///
/// # Errors
/// What would end the build before its first step.
pub async fn plan(host: &Arc<Host>, plan: &BuildPlan) -> Result<TemplatePlan> {
    let recipe = Recipe::read(host, plan, &JobHandle::new()).await?;
    let unchanged = match plan.no_cache {
        true => None,
        false => registry::unchanged(host, plan, &recipe).await?,
    };
    let done = recipe.cached(plan.no_cache);
    let steps = recipe.works.iter().map(|work| PlannedStep {
        step: work.step.shown(),
        key: work.key.clone(),
        cached: work.index < done,
    });
    Ok(TemplatePlan {
        steps: steps.collect(),
        unchanged: unchanged.is_some(),
        key: recipe.key,
    })
}

impl Recipe {
    /// Looks at everything the build depends on, and changes nothing.
    pub(super) async fn read(host: &Arc<Host>, plan: &BuildPlan, job: &JobHandle) -> Result<Self> {
        let (ground, base_key) = ground(host, plan).await?;
        let mut works = Vec::with_capacity(plan.template.steps.len());
        let mut below = base_key.clone();
        for (index, step) in plan.template.steps.iter().enumerate() {
            let work = Work::read(host, plan, (index, step), &below, job).await?;
            below.clone_from(&work.key);
            works.push(work);
        }
        let name = version_name(plan)?;
        host.catalogue.require_free(&plan.namespace, &name)?;
        let mut rest = plan.template.clone();
        rest.steps.clear();
        let rest = serde_json::to_string(&rest).expect("templates are always JSON");
        Ok(Self {
            key: key::of(&["whole", &below, &rest, &name.to_string()]),
            ground,
            base_key,
            works,
            name,
        })
    }

    /// How many steps need not be run.
    pub(super) fn cached(&self, no_cache: bool) -> usize {
        let found = |work: &Work| work.found.is_some();
        let last = self.works.iter().rposition(found).filter(|_| !no_cache);
        last.map_or(0, |last| last + 1)
    }

    /// What is built upon: the furthest that earlier builds have come.
    pub(super) fn deepest(&self, no_cache: bool) -> Option<&SnapshotRecord> {
        if no_cache {
            return None;
        }
        let of_step = self.works.iter().rev().find_map(|work| work.found.as_ref());
        of_step.or(match &self.ground {
            Ground::Image(_, found) => found.as_deref(),
            Ground::Snapshot(_) => None,
        })
    }

    /// Who runs the command when the template does not say: the image's user.
    pub(super) fn base_user(&self) -> Option<&str> {
        match &self.ground {
            Ground::Image(image, _) => image.user(),
            Ground::Snapshot(_) => None,
        }
    }

    /// True for the key of one of its results.
    pub(super) fn has(&self, key: &str) -> bool {
        self.base_key == key || self.works.iter().any(|work| work.key == key)
    }
}

impl Work {
    async fn read(
        host: &Arc<Host>,
        plan: &BuildPlan,
        (index, step): (usize, &Step),
        below: &str,
        job: &JobHandle,
    ) -> Result<Self> {
        let in_step = |error| super::stage::in_step_number(index, error);
        let user = step.user.as_deref().unwrap_or_default();
        let mut digest = None;
        let key = if let Some(git) = &step.git {
            let source = plan
                .sources
                .get(&index)
                .ok_or_else(|| in_step(uncloned()))?;
            key::of(&["git", below, &git.repository, &source.commit, &git.to, user])
        } else if let Some(copy) = &step.copy {
            let (from, job) = (PathBuf::from(&copy.from), job.clone());
            let exclude = Exclude::new(&copy.exclude)?;
            let read = blocking(move || transfer::digest(&from, &exclude, &job)).await;
            let read = read.map_err(in_step)?;
            let key = key::of(&["copy", below, &read, &copy.to, user]);
            digest = Some(read);
            key
        } else {
            let template = &plan.template;
            let run = step.run.as_ref().map(snap_api::Command::words);
            let words =
                serde_json::to_string(&(run, &template.env, &template.workdir, template.network));
            let words = words.expect("commands are always JSON");
            key::of(&["run", below, &words, user])
        };
        let found = find(host, &plan.namespace, &key).await?;
        Ok(Self {
            index,
            step: step.clone(),
            key,
            digest,
            found,
        })
    }
}

async fn ground(host: &Arc<Host>, plan: &BuildPlan) -> Result<(Ground, String)> {
    let (namespace, base) = (&plan.namespace, &plan.template.base);
    if let Some(name) = &base.image {
        let image = Image::find(&host.containerd, namespace, name).await?;
        let key = key::of(&["image", name, &image.digest]);
        let found = find(host, namespace, &key).await?;
        return Ok((Ground::Image(image, found.map(Box::new)), key));
    }
    let reference: Reference = base.snapshot.as_deref().unwrap_or_default().parse()?;
    let (catalogue, of) = (Arc::clone(&host.catalogue), namespace.clone());
    let record = blocking(move || catalogue.resolve(&of, &reference)).await?;
    if let Err(why) = usable(host, &record) {
        let message = format!("Snapshot {} is no base: {why}", record.id);
        return Err(ErrorReport::new(ErrorCode::Conflict, "base-unusable", message).into());
    }
    if !record.is_container {
        let message = format!(
            "Snapshot {} holds a folder, and a base is a container",
            record.id
        );
        return Err(ErrorReport::new(ErrorCode::Conflict, "not-a-container", message).into());
    }
    let key = key::of(&["snapshot", &record.id.to_string()]);
    Ok((Ground::Snapshot(Box::new(record)), key))
}

/// The newest result with this key that can be built upon.
async fn find(
    host: &Arc<Host>,
    namespace: &Namespace,
    key: &str,
) -> Result<Option<SnapshotRecord>> {
    let (catalogue, namespace, key) = (
        Arc::clone(&host.catalogue),
        namespace.clone(),
        key.to_owned(),
    );
    let found = blocking(move || catalogue.steps(&namespace, Some(&key))).await?;
    Ok(found
        .into_iter()
        .find(|record| usable(host, record).is_ok()))
}

/// The template's name with the tag its versions get.
fn version_name(plan: &BuildPlan) -> Result<SnapshotName> {
    let Some(version) = &plan.template.version else {
        return Ok(plan.name.clone());
    };
    let steps = plan.template.steps.iter().enumerate();
    let mut repositories = steps.filter_map(|(index, step)| Some((index, step.git.as_ref()?)));
    let (branch, commit) = match repositories.next() {
        None => ("", ""),
        Some((index, git)) => {
            let source = plan.sources.get(&index);
            let commit = source.map_or("", |source| source.commit.as_str());
            let short = commit.get(..SHORT_COMMIT).unwrap_or(commit);
            (git.branch.as_deref().unwrap_or("default"), short)
        }
    };
    let tag = version
        .replace("{branch}", branch)
        .replace("{commit}", commit);
    let plain = |letter: char| match letter.is_ascii_alphanumeric() || "._-".contains(letter) {
        true => letter,
        false => '-',
    };
    let mut tag: String = tag.chars().map(plain).take(MAX_TAG_BYTES).collect();
    if tag.bytes().all(|byte| byte.is_ascii_digit()) {
        tag.insert(0, 'v');
    }
    let name: SnapshotName = format!("{}:{tag}", plan.name.name()).parse()?;
    Ok(name.require_tag()?)
}

fn uncloned() -> crate::Error {
    let message = "it is not said which commit its branch stands at";
    ErrorReport::new(ErrorCode::Usage, "no-source", message).into()
}

//! Whether the processes of a restored container begin anew or go on from their memory.

use std::sync::Arc;

use snap_store::{ContainerRecord, Manifest};

use super::{Blueprint, MemoryChoice, ORIGIN_LABEL};
use crate::{
    blocking, clock, containers,
    error::{Result, in_full},
    hooks::{self, Moment},
    host::Host,
    memory::{
        self,
        identity::{self, Identity},
    },
    spec,
};

impl Blueprint {
    /// Whether processes go on from images, when there are some.
    pub(super) async fn choose_memory(&mut self, host: &Host, manifest: &Manifest) -> Result<()> {
        if self.memory_bytes.is_none() {
            return Ok(());
        }
        if self.plan.no_start {
            self.give_up_memory("they are not started now");
            return Ok(());
        }
        if self.plan.memory == MemoryChoice::Never {
            self.memory_bytes = None;
            return Ok(());
        }
        match self.check_memory(host, manifest).await {
            Err(error) if self.falls_back() => {
                self.give_up_memory(&in_full(&error));
                Ok(())
            }
            checked => checked,
        }
    }

    /// Refuses memory that cannot be restored here, before anything is changed.
    async fn check_memory(&self, host: &Host, manifest: &Manifest) -> Result<()> {
        if let Some(images) = manifest.memory_images().cloned() {
            let (config, namespace) = (host.config.clone(), manifest.namespace.clone());
            blocking(move || memory::check_key(&config, &namespace, &images)).await?;
        }
        memory::check_facts(manifest, &self.config, &self.plan.network).await
    }

    pub(super) fn falls_back(&self) -> bool {
        self.memory_bytes.is_some() && self.plan.memory == MemoryChoice::OrFiles
    }

    pub(super) fn give_up_memory(&mut self, why: &str) {
        self.memory_bytes = None;
        let warning = format!("Files alone were restored, the processes begin anew: {why}");
        self.without_memory = Some(warning);
    }

    /// Starts the container's task, or has its processes go on; returns what there is to warn of.
    pub(super) async fn start(
        &self,
        host: &Arc<Host>,
        record: &ContainerRecord,
    ) -> Result<Option<String>> {
        let Some(images) = &self.images else {
            containers::start_task(host, record, None).await?;
            return Ok(None);
        };
        let id = &record.id;
        let hostname = spec::hostname(id);
        let clone = images.for_clone(id, &hostname).await?;
        let started = containers::start_task(host, record, Some(clone.images())).await;
        started.map_err(|error| memory::not_restored(id, &clone.work, error))?;
        let hostname = clone.is_renamed.then_some(hostname);
        let warning = self.introduce(host, record, hostname).await?;
        if let Some(hook) = &self.plan.hook {
            hooks::run(host, &record.namespace, id, hook, Moment::Restore).await?;
        }
        Ok(warning)
    }

    /// Tells the container's processes who they are now. They may be such that nobody can be told.
    async fn introduce(
        &self,
        host: &Host,
        record: &ContainerRecord,
        hostname: Option<String>,
    ) -> Result<Option<String>> {
        let (namespace, id) = (record.namespace.clone(), record.id.clone());
        let Some(task) = host.containerd.task(&namespace, &id).await? else {
            return Ok(None);
        };
        let origin = self.labels.get(ORIGIN_LABEL).cloned().unwrap_or_default();
        let snapshot = self.plan.snapshot.id.to_string();
        let writing = move || -> Result<_> {
            let identity = Identity {
                id: &id,
                namespace: namespace.as_str(),
                hostname: hostname.as_deref(),
                snapshot,
                origin: &origin,
                restored_at: clock::rfc3339(clock::now()),
            };
            let written = identity::write(task.pid, &identity);
            let told = |error| {
                format!(
                    "{} of container {id} cannot be written: {error}",
                    identity::PLACE
                )
            };
            Ok(written.err().map(told))
        };
        blocking(writing).await
    }
}

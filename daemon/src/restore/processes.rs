//! Whether the processes of a restored container begin anew or go on from their memory.

use std::sync::Arc;

use snap_store::{ContainerRecord, Manifest};

use super::{Blueprint, MemoryChoice};
use crate::{
    containers,
    error::{Result, in_full},
    host::Host,
    memory,
};

impl Blueprint {
    /// Whether processes go on from images, when there are some.
    pub(super) async fn choose_memory(&mut self, manifest: &Manifest) -> Result<()> {
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
        match memory::check_facts(manifest, &self.config, &self.plan.network).await {
            Err(error) if self.falls_back() => {
                self.give_up_memory(&in_full(&error));
                Ok(())
            }
            checked => checked,
        }
    }

    pub(super) fn falls_back(&self) -> bool {
        self.memory_bytes.is_some() && self.plan.memory == MemoryChoice::OrFiles
    }

    pub(super) fn give_up_memory(&mut self, why: &str) {
        self.memory_bytes = None;
        let warning = format!("Files alone were restored, the processes begin anew: {why}");
        self.without_memory = Some(warning);
    }

    /// Starts the container's task, or has its processes go on.
    pub(super) async fn start(&self, host: &Arc<Host>, record: &ContainerRecord) -> Result<()> {
        let Some(images) = &self.images else {
            return containers::start_task(host, record, None).await;
        };
        let work = images.work_for(&record.id)?;
        let images = Some(images.in_work(&work));
        let started = containers::start_task(host, record, images).await;
        started.map_err(|error| memory::not_restored(&record.id, &work, error))
    }
}

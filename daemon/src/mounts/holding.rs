//! The daemon's use of the holder. Without one, mounts are served all the same; what is lost is that a device
//! outlives both daemon and server, so that is logged and no more.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use snap_fs::holder::Holder;
use snap_store::Error as StoreError;
use tokio::process::Command;
use tracing::warn;

use super::{
    places::{Place, Places},
    server,
};
use crate::{blocking::blocking, error::Result};

/// Has the device held, by a new holder when there is none.
pub(super) async fn put(places: &Arc<Places>, place: Place, device: &OwnedFd) {
    if let Err(error) = try_put(places, place, device).await {
        warn!(mount = %place, %error, "No holder keeps the device of a mount");
    }
}

async fn try_put(places: &Arc<Places>, place: Place, device: &OwnedFd) -> Result<()> {
    let device = device
        .try_clone()
        .map_err(StoreError::io("duplicate", "/dev/fuse"))?;
    ensure_holder(places).await?;
    let (holder, name) = (Holder::at(&places.holder_socket()), place.to_string());
    blocking(move || holder.put(&name, device.as_fd())).await
}

/// The device as the holder has it.
pub(super) async fn get(places: &Places, place: Place) -> Option<OwnedFd> {
    let (holder, name) = (Holder::at(&places.holder_socket()), place.to_string());
    let held = blocking(move || holder.get(&name)).await;
    held.ok().flatten()
}

/// Has it let go; there may be no holder.
pub(super) async fn remove(places: &Places, place: Place) {
    let (holder, name) = (Holder::at(&places.holder_socket()), place.to_string());
    let _ = blocking(move || holder.remove(&name)).await;
}

/// The names of what is held; empty when no holder answers.
pub(super) async fn list(places: &Places) -> Vec<String> {
    let holder = Holder::at(&places.holder_socket());
    blocking(move || holder.list()).await.unwrap_or_default()
}

/// Has everything let go that belongs to no mount.
pub(super) async fn forget_strangers(places: &Arc<Places>) {
    let places = places.clone();
    let forget = move || -> Result<(), StoreError> {
        let holder = Holder::at(&places.holder_socket());
        let ours: Vec<_> = places.all()?.iter().map(ToString::to_string).collect();
        for name in holder.list()?.iter().filter(|name| !ours.contains(name)) {
            holder.remove(name)?;
        }
        Ok(())
    };
    let _ = blocking(forget).await;
}

async fn ensure_holder(places: &Places) -> Result<()> {
    let _one_at_a_time = places.starting_holder.lock().await;
    let holder = Holder::at(&places.holder_socket());
    if blocking(move || Ok::<_, StoreError>(holder.is_alive())).await? {
        return Ok(());
    }
    let mut command = Command::new(&places.mount_server);
    command
        .arg("hold")
        .arg("--socket")
        .arg(places.holder_socket())
        .stdin(std::process::Stdio::null());
    let (mut child, _) = server::start_ready(&mut command, &places.holder_log()).await?;
    tokio::spawn(async move { child.wait().await });
    Ok(())
}

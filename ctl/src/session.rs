//! A connection in use: the namespace, the screen, deadlines and pages.

use std::{path::Path, time::Duration};

use serde::Serialize;
use snap_api::{Client, ErrorCode, ErrorReport, Page};
use tarpc::{client::RpcError, context::Context};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, Screen},
};

/// How long a call that is not a job may take: stopping a container waits ten seconds before it kills, and
/// starting one may have to mount what it stands on first.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// How long a call may take that deals with everything the daemon has.
const LONG_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The minor version of the protocol that versions of names, immutable tags, pins, filters and orders came with.
pub(crate) const VERSIONS: u32 = 1;
/// The one that events came with.
pub(crate) const EVENTS: u32 = 2;
/// That which memory and `check` came with.
pub(crate) const MEMORY: u32 = 3;
/// The one that rules for what is kept came with.
pub(crate) const RETENTION: u32 = 4;
/// The one that the trash came with.
pub(crate) const TRASH: u32 = 5;
/// The one that forecasts of a create came with.
pub(crate) const FORECAST: u32 = 6;
/// That which a look into memory came with.
pub(crate) const CONTENTS: u32 = 6;
/// That which hooks and connections that go on came with.
pub(crate) const HOOKS: u32 = 6;
/// The one that templates came with.
pub(crate) const TEMPLATES: u32 = 7;
/// The one that volumes came with, and what is mounted into restored containers.
pub(crate) const VOLUMES: u32 = 8;
/// The one that folders of containers and versions with something put in came with.
pub(crate) const FOLDERS: u32 = 9;

const CALL_HINT: &str = "whether the daemon did it is not known; look with `snapctl list` or `snapctl container list`, and at `journalctl -u snapshotd`";

/// What every verb works with.
#[derive(Debug)]
pub(crate) struct Session {
    /// The daemon.
    pub(crate) client: Client,
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// Where results go.
    pub(crate) screen: Screen,
}

impl Session {
    /// Connects to the daemon behind `socket`.
    pub(crate) async fn open(
        socket: &Path,
        namespace: String,
        screen: Screen,
    ) -> Result<Self, Failure> {
        let name = concat!("snapctl ", env!("CARGO_PKG_VERSION"));
        let client = Client::connect(socket, name).await?;
        Ok(Self {
            client,
            namespace,
            screen,
        })
    }

    /// Refuses to ask for what the daemon is too old to know: it would pass over it in silence.
    pub(crate) fn require(&self, minor: u32) -> Result<(), Failure> {
        let hello = self.client.hello();
        if hello.minor >= minor {
            return Ok(());
        }
        let message = format!("snapshotd {} is too old for this", hello.version);
        Err(
            ErrorReport::new(ErrorCode::Unavailable, "protocol-version", message)
                .hint("install the daemon of this release and restart it: `systemctl restart snapshotd`")
                .into(),
        )
    }

    /// The context of a call that is answered soon.
    pub(crate) fn soon(&self) -> Context {
        Client::within(CALL_LIMIT)
    }

    /// The context of a call that takes as long as there is to do.
    pub(crate) fn at_last(&self) -> Context {
        Client::within(LONG_LIMIT)
    }

    /// The namespace to list, or none for all of them.
    pub(crate) fn listed_namespace(&self, all_namespaces: bool) -> Option<String> {
        (!all_namespaces).then(|| self.namespace.clone())
    }

    /// All items of a listing, page after page.
    pub(crate) async fn collect<T>(
        &self,
        fetch: impl AsyncFn(Option<String>) -> Result<Page<T>, Failure>,
    ) -> Result<Vec<T>, Failure> {
        self.collect_some(usize::MAX, fetch).await
    }

    /// The first `limit` items of a listing.
    pub(crate) async fn collect_some<T>(
        &self,
        limit: usize,
        fetch: impl AsyncFn(Option<String>) -> Result<Page<T>, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let page = fetch(cursor).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
        }
    }

    /// Shows a listing item by item as it comes; for those that may be longer than memory.
    pub(crate) async fn stream<T: Serialize>(
        &self,
        fetch: impl AsyncFn(Option<String>) -> Result<Page<T>, Failure>,
        line: impl Fn(Form, &T) -> String,
    ) -> Result<(), Failure> {
        let form = self.screen.form();
        let mut array = JsonArray::new(&self.screen);
        let mut cursor = None;
        loop {
            let page = fetch(cursor).await?;
            for item in &page.items {
                match form {
                    Form::Json => array.push(item)?,
                    Form::Quiet | Form::Table => self.screen.line(&line(form, item))?,
                }
            }
            self.screen.flush()?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if form == Form::Json {
            array.finish()?;
        }
        Ok(())
    }
}

/// The answer within what a call returned.
pub(crate) fn answer<T>(called: Result<Result<T, ErrorReport>, RpcError>) -> Result<T, Failure> {
    match called {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(report)) => Err(report.into()),
        Err(error) => Err(Failure::call(&error, CALL_HINT)),
    }
}

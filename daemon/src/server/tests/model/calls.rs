//! What can be done, and how it is drawn: each step is a number, and what is done for it depends on that number and on what the model holds.
//! So any part of a sequence is a sequence too.

mod draw;
mod questions;

use std::collections::BTreeMap;

use snap_api::{
    AutoRequest, AutoSetRequest, ForgetRequest, HistoryRequest, LabelRequest, ListRequest,
    MovesRequest, PinRequest, PolicyListRequest, PolicyRequest, PolicySetRequest, RemoveRequest,
    RollbackRequest, TagRequest, TrashEmptyRequest, Ttl, TtlRequest, UndeleteRequest,
};

use self::draw::Draw;
use super::{
    dice::Dice,
    plain::{Plain, User},
};

pub(super) const NAMESPACES: [&str; 2] = ["default", "other"];
/// One of them reads like the beginning of an id.
pub(super) const NAMES: [&str; 4] = ["web", "db", "job/a", "beef"];
/// Contents of real folders are others than those that are made up.
pub(super) const REAL: usize = 1000;

/// How a create ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Active,
    Failed,
    /// It goes on.
    Creating,
    /// The daemon is killed, before or after everything was stored.
    Killed {
        is_whole: bool,
    },
}

/// A create.
#[derive(Clone, Debug)]
pub(super) struct Creation {
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) ttl: Ttl,
    pub(super) unused_seconds: Option<u64>,
    pub(super) labels: BTreeMap<String, String>,
    /// A folder, or a container of an image.
    pub(super) source: String,
    pub(super) content: usize,
    pub(super) logical_bytes: u64,
    pub(super) ending: Ending,
    /// By the recipe itself, of a real folder.
    pub(super) is_real: bool,
}

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Create(Creation),
    /// The end of a create that went on, and whether it goes well.
    EndCreate(String, bool),
    Remove(RemoveRequest),
    Ttl(TtlRequest),
    Label(LabelRequest),
    Tag(TagRequest),
    Pin(PinRequest),
    Rollback(RollbackRequest),
    PolicySet(PolicySetRequest),
    PolicyRemove(PolicyRequest),
    PolicyList(PolicyListRequest),
    Forget(ForgetRequest),
    Undelete(UndeleteRequest),
    TrashEmpty(TrashEmptyRequest),
    TrashList(ListRequest),
    List(ListRequest),
    History(HistoryRequest),
    Moves(MovesRequest),
    /// Somebody begins to use a snapshot.
    Use {
        user: User,
        namespace: String,
        reference: String,
        from_trash: bool,
    },
    /// Somebody uses it no longer.
    Release(User),
    /// Time passes, in seconds.
    Pass(u64),
    /// The wall clock is set, by so many seconds.
    Jump(i64),
    /// The regular look.
    Look,
    Collect,
    Restart,
    /// The same, and the catalogue is gone meanwhile: it is made anew from the manifests.
    Rebuild,
    AutoSet(AutoSetRequest),
    AutoRemove(AutoRequest),
    AutoList(ListRequest),
    /// The look for what is due by the calendar, to the end of what it begins.
    AutoLook,
}

impl Call {
    /// What is done for the number `step`.
    pub(super) fn draw(step: u64, plain: &Plain) -> Self {
        let mut draw = Draw {
            dice: Dice::new(step),
            plain,
        };
        match draw.dice.below(1000) {
            0..120 => Self::Create(draw.creation()),
            120..140 => draw.end_create(),
            140..210 => Self::Remove(draw.remove()),
            210..280 => Self::Ttl(draw.ttl()),
            280..310 => Self::Label(draw.label()),
            310..400 => Self::Tag(draw.tag()),
            400..440 => Self::Tag(draw.untag()),
            440..490 => Self::Pin(draw.pin()),
            490..550 => Self::Rollback(draw.rollback()),
            550..570 => draw.policy_set(),
            570..580 => draw.policy_remove(),
            580..590 => draw.policy_list(),
            590..625 => Self::Forget(draw.forget()),
            625..685 => Self::Undelete(draw.undelete()),
            685..700 => Self::TrashEmpty(draw.trash_empty()),
            700..715 => Self::TrashList(draw.trash_list()),
            715..750 => Self::List(draw.list()),
            750..765 => draw.history(),
            765..775 => draw.moves(),
            775..825 => draw.begin_use(),
            825..880 => Self::Release(draw.user()),
            880..940 => Self::Pass(draw.stretch()),
            940..946 => draw.jump(),
            946..952 => Self::AutoSet(draw.auto_set()),
            952..955 => Self::AutoRemove(draw.auto()),
            955..958 => Self::AutoList(draw.trash_list()),
            958..970 => Self::AutoLook,
            970..996 => Self::Look,
            996..998 => Self::Collect,
            998 => Self::Restart,
            _ => match draw.dice.percent(70) {
                true => Self::Restart,
                false => Self::Rebuild,
            },
        }
    }
}

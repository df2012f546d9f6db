//! Those messages of CRIU's images that are read here, and of them the fields that are. Their numbers are those of CRIU's
//! `images/*.proto`, which are public and only grow.

use prost::Message;

/// State of a task that has ended.
pub(super) const DEAD: u32 = 2;
/// Of a run of pages: they are in the file of pages. CRIU before 2.0 wrote no flags.
const PRESENT: u32 = 1 << 2;

/// `pstree_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Process {
    #[prost(uint32, tag = "1")]
    pub(super) pid: u32,
    #[prost(uint32, tag = "2")]
    pub(super) parent: u32,
    #[prost(uint32, repeated, packed = "false", tag = "5")]
    pub(super) threads: Vec<u32>,
}

/// `core_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Core {
    #[prost(message, optional, tag = "3")]
    pub(super) task: Option<Task>,
    #[prost(message, optional, tag = "4")]
    pub(super) ids: Option<Ids>,
}

/// `task_core_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Task {
    #[prost(uint32, tag = "1")]
    pub(super) state: u32,
    #[prost(string, tag = "6")]
    pub(super) name: String,
}

/// `task_kobj_ids_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Ids {
    #[prost(uint32, tag = "2")]
    pub(super) files: u32,
}

/// `mm_entry`. Mappings are decoded one by one: an image may have more than an answer takes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Mappings {
    #[prost(bytes = "vec", repeated, tag = "14")]
    pub(super) mappings: Vec<Vec<u8>>,
}

/// `vma_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Mapping {
    #[prost(uint64, tag = "1")]
    pub(super) start: u64,
    #[prost(uint64, tag = "2")]
    pub(super) end: u64,
    /// Of a mapped file its number among the open files.
    #[prost(uint64, tag = "4")]
    pub(super) file: u64,
    #[prost(uint32, tag = "5")]
    pub(super) access: u32,
    #[prost(uint32, tag = "7")]
    pub(super) status: u32,
}

/// `pagemap_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pages {
    #[prost(uint64, tag = "1")]
    pub(super) address: u64,
    #[prost(uint32, tag = "2")]
    pub(super) short_count: u32,
    #[prost(uint32, optional, tag = "4")]
    pub(super) flags: Option<u32>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) long_count: Option<u64>,
}

impl Pages {
    pub(super) fn count(&self) -> u64 {
        self.long_count.unwrap_or_else(|| self.short_count.into())
    }

    pub(super) fn are_stored(&self) -> bool {
        self.flags.is_none_or(|flags| flags & PRESENT != 0)
    }
}

/// `fdinfo_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Descriptor {
    #[prost(uint32, tag = "1")]
    pub(super) file: u32,
    #[prost(uint32, tag = "3")]
    pub(super) kind: u32,
    #[prost(uint32, tag = "4")]
    pub(super) number: u32,
}

/// `file_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OpenFile {
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(uint32, tag = "2")]
    pub(super) id: u32,
    #[prost(message, optional, tag = "3")]
    pub(super) regular: Option<Regular>,
    #[prost(message, optional, tag = "4")]
    pub(super) inet: Option<Inet>,
    #[prost(message, optional, tag = "16")]
    pub(super) unix: Option<Unix>,
}

/// `reg_file_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Regular {
    #[prost(string, tag = "6")]
    pub(super) path: String,
}

/// `inet_sk_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Inet {
    #[prost(uint32, tag = "3")]
    pub(super) family: u32,
    #[prost(uint32, tag = "5")]
    pub(super) protocol: u32,
    #[prost(uint32, tag = "6")]
    pub(super) state: u32,
    #[prost(uint32, tag = "7")]
    pub(super) port: u32,
    #[prost(uint32, tag = "8")]
    pub(super) peer_port: u32,
    #[prost(uint32, repeated, packed = "false", tag = "11")]
    pub(super) address: Vec<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "12")]
    pub(super) peer_address: Vec<u32>,
}

/// `unix_sk_entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Unix {
    #[prost(uint32, tag = "4")]
    pub(super) state: u32,
    #[prost(bytes = "vec", tag = "11")]
    pub(super) name: Vec<u8>,
}

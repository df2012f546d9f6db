//! What is asked for in a step: mostly of what there is, now and then of what there is not, or malformed.

use snap_api::{
    AutoRequest, AutoSetRequest, CreateSource, ForgetRequest, KeepRules, LabelRequest, PinRequest,
    PolicyRequest, PolicySetRequest, RemoveRequest, RollbackRequest, TagRequest, TrashEmptyRequest,
    Ttl, TtlRequest, UndeleteRequest, WirePath,
};

use super::{
    super::{
        dice::Dice,
        plain::{Plain, User},
    },
    Call, Creation, Ending, NAMES, NAMESPACES,
};

const TAGS: [&str; 4] = ["v1", "v2", "stable", "latest"];
const LABELS: [&str; 3] = ["team", "kind", "a b"];
/// Beginnings of ids; few, so that beginnings of two are alike.
const BEGINNINGS: [&str; 3] = ["beef", "bee0", "cafe"];
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// How many different contents there are.
const CONTENTS: usize = 24;
/// Draws what is asked for.
pub(super) struct Draw<'a> {
    pub(super) dice: Dice,
    pub(super) plain: &'a Plain,
}

impl Draw<'_> {
    pub(super) fn namespace(&mut self) -> String {
        let known = self.dice.percent(70);
        let text = match (known, self.dice.percent(1)) {
            (_, true) => "no/such",
            (true, _) => NAMESPACES[0],
            (false, _) => self.dice.of(&NAMESPACES),
        };
        text.to_owned()
    }

    pub(super) fn name(&mut self) -> String {
        self.dice.of(&NAMES).to_owned()
    }

    fn tagged(&mut self) -> String {
        match self.dice.below(40) {
            0 => format!("{}:7", self.name()),
            1 => "Not A Name".to_owned(),
            2 => self.name(),
            _ => format!("{}:{}", self.name(), self.dice.of(&TAGS)),
        }
    }

    fn id(&mut self) -> String {
        let rest = (u128::from(self.dice.roll()) << 64) | u128::from(self.dice.roll());
        let id = format!("{}{rest:032x}", self.dice.of(&BEGINNINGS));
        id[..32].to_owned()
    }

    /// A snapshot that there is, in whatever state and namespace.
    fn known_id(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        let ids: Vec<&String> = self.plain.snapshots.keys().collect();
        let ids: Vec<_> = ids.into_iter().filter(|id| is_wanted(id)).collect();
        match ids.is_empty() {
            true => self.id(),
            false => self.dice.of(&ids).clone(),
        }
    }

    fn reference(&mut self) -> String {
        self.reference_of(|_| true)
    }

    fn reference_of(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        match self.dice.below(20) {
            0..9 => self.known_id(is_wanted),
            9..11 => {
                let length = 4 + self.dice.below(5);
                self.known_id(is_wanted)[..length].to_owned()
            }
            11..14 => self.name(),
            14..17 => format!("{}:{}", self.name(), self.dice.of(&TAGS)),
            17..19 => format!("{}:{}", self.name(), self.dice.below(40)),
            _ => {
                let odd = ["nothing", "Not A Name", "web:", "", "web:none"];
                self.dice.of(&odd).to_owned()
            }
        }
    }

    fn references(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let count = match self.dice.below(40) {
            0 => 0,
            1..28 => 1,
            28..36 => 2,
            _ => 4,
        };
        (0..count).map(|_| self.reference_of(&is_wanted)).collect()
    }

    fn lifetime(&mut self) -> Ttl {
        match self.dice.below(40) {
            0 => Ttl::Seconds(0),
            1 => Ttl::Seconds(u64::MAX),
            2..8 => Ttl::Never,
            8..14 => Ttl::Default,
            _ => Ttl::Seconds(self.stretch()),
        }
    }

    /// So many seconds.
    pub(super) fn stretch(&mut self) -> u64 {
        let all = [
            1,
            MINUTE,
            40 * MINUTE,
            HOUR,
            7 * HOUR,
            DAY,
            3 * DAY,
            9 * DAY,
        ];
        let longer = self.dice.percent(5);
        match longer {
            true => 30 * DAY,
            false => self.dice.of(&all),
        }
    }

    pub(super) fn creation(&mut self) -> Creation {
        let ending = match self.dice.below(100) {
            0..5 => Ending::Failed,
            5..15 => Ending::Creating,
            15..17 => Ending::Killed {
                is_whole: self.dice.percent(50),
            },
            _ => Ending::Active,
        };
        let labels = (0..self.dice.below(3)).map(|number| {
            let key = self.dice.of(&LABELS).to_owned();
            (key, number.to_string())
        });
        let labels = labels.collect();
        let content = self.dice.below(CONTENTS);
        Creation {
            id: self.id(),
            namespace: self.namespace(),
            name: match self.dice.below(10) {
                0 => None,
                1..3 => Some(self.tagged()),
                _ => Some(self.name()),
            },
            ttl: self.lifetime(),
            unused_seconds: match self.dice.below(30) {
                0 => Some(0),
                1..6 => Some(self.stretch()),
                _ => None,
            },
            labels,
            source: self
                .dice
                .of(&["/srv/0", "/srv/1", "web1", "job"])
                .to_owned(),
            content,
            logical_bytes: self.dice.roll() % 6000,
            ending,
            is_real: self.dice.percent(10),
        }
    }

    pub(super) fn end_create(&mut self) -> Call {
        let creating = self.plain.creating();
        match creating.is_empty() {
            true => Call::Look,
            false => Call::EndCreate(self.dice.of(&creating), self.dice.percent(70)),
        }
    }

    pub(super) fn remove(&mut self) -> RemoveRequest {
        let plain = self.plain;
        RemoveRequest {
            namespace: self.namespace(),
            references: self.references(|id| !plain.is_in_trash(id)),
            force: self.dice.percent(15),
            permanent: self.dice.percent(15),
        }
    }

    pub(super) fn ttl(&mut self) -> TtlRequest {
        TtlRequest {
            namespace: self.namespace(),
            reference: self.reference(),
            ttl: self.dice.percent(65).then(|| self.lifetime()),
            unused: self.dice.percent(40).then(|| self.lifetime()),
        }
    }

    pub(super) fn label(&mut self) -> LabelRequest {
        let set = (0..self.dice.below(3)).map(|number| {
            let key = match self.dice.percent(3) {
                true => "",
                false => self.dice.of(&LABELS),
            };
            (key.to_owned(), number.to_string())
        });
        LabelRequest {
            namespace: NAMESPACES[0].to_owned(),
            set: set.collect(),
            remove: (0..self.dice.below(2))
                .map(|_| self.dice.of(&LABELS).to_owned())
                .collect(),
            reference: self.reference(),
        }
    }

    pub(super) fn tag(&mut self) -> TagRequest {
        let more = match self.dice.below(10) {
            0..8 => 0,
            _ => 2,
        };
        TagRequest {
            namespace: self.namespace(),
            reference: self.reference(),
            name: self.tagged(),
            remove: false,
            more: (0..more).map(|_| self.tagged()).collect(),
            immutable: self.dice.percent(20),
            force: false,
        }
    }

    pub(super) fn untag(&mut self) -> TagRequest {
        let name = match self.dice.percent(10) {
            true => format!("{}:{}", self.name(), self.dice.below(20)),
            false => self.tagged(),
        };
        TagRequest {
            namespace: self.namespace(),
            reference: String::new(),
            name,
            remove: true,
            more: Vec::new(),
            immutable: false,
            force: self.dice.percent(40),
        }
    }

    pub(super) fn pin(&mut self) -> PinRequest {
        PinRequest {
            namespace: self.namespace(),
            reference: self.reference(),
            remove: self.dice.percent(65),
        }
    }

    pub(super) fn rollback(&mut self) -> RollbackRequest {
        RollbackRequest {
            namespace: self.namespace(),
            name: self.name(),
            version: self
                .dice
                .percent(30)
                .then(|| u64::try_from(self.dice.below(40)).unwrap()),
            undo: self.dice.percent(40),
        }
    }

    fn rules(&mut self) -> KeepRules {
        let mut most = |most: usize| match self.dice.percent(30) {
            true => u32::try_from(self.dice.below(most)).unwrap(),
            false => 0,
        };
        KeepRules {
            last: most(6),
            hourly: most(5),
            daily: most(4),
            weekly: most(4),
            monthly: most(3),
            yearly: most(3),
            within_seconds: match self.dice.below(40) {
                0 => u64::MAX,
                1..8 => self.stretch(),
                _ => 0,
            },
        }
    }

    pub(super) fn policy_set(&mut self) -> Call {
        Call::PolicySet(PolicySetRequest {
            namespace: self.namespace(),
            name: self.name(),
            keep: self.rules(),
        })
    }

    pub(super) fn policy_remove(&mut self) -> Call {
        Call::PolicyRemove(PolicyRequest {
            namespace: self.namespace(),
            name: self.name(),
        })
    }

    pub(super) fn forget(&mut self) -> ForgetRequest {
        let all_names = self.dice.percent(30);
        let count = match (all_names, self.dice.percent(3)) {
            (true, false) | (false, true) => 0,
            _ => 1 + self.dice.below(2),
        };
        ForgetRequest {
            namespace: self.namespace(),
            names: (0..count).map(|_| self.name()).collect(),
            all_names,
            keep: self.rules(),
            dry_run: self.dice.percent(50),
            cursor: None,
            limit: u32::try_from(self.dice.of(&[0, 1, 3])).unwrap(),
        }
    }

    pub(super) fn undelete(&mut self) -> UndeleteRequest {
        let plain = self.plain;
        UndeleteRequest {
            namespace: self.namespace(),
            references: self.references(|id| plain.is_in_trash(id)),
        }
    }

    pub(super) fn trash_empty(&mut self) -> TrashEmptyRequest {
        let plain = self.plain;
        TrashEmptyRequest {
            namespace: self.namespace(),
            references: match self.dice.percent(40) {
                true => Vec::new(),
                false => self.references(|id| plain.is_in_trash(id)),
            },
        }
    }

    pub(super) fn user(&mut self) -> User {
        let number = self.dice.below(4);
        match self.dice.percent(50) {
            true => User::Container(NAMESPACES[0].to_owned(), format!("box{number}")),
            false => User::Folder(number),
        }
    }

    pub(super) fn begin_use(&mut self) -> Call {
        Call::Use {
            user: self.user(),
            namespace: self.namespace(),
            reference: self.reference(),
            from_trash: self.dice.percent(30),
        }
    }

    pub(super) fn auto(&mut self) -> AutoRequest {
        let namespace = self.namespace();
        // One of a namespace, because several would race for the last place in it.
        let name = NAMES[usize::from(namespace == NAMESPACES[0])].to_owned();
        AutoRequest { namespace, name }
    }

    pub(super) fn auto_set(&mut self) -> AutoSetRequest {
        let AutoRequest { namespace, name } = self.auto();
        let source = match self.dice.percent(20) {
            true => "none".to_owned(),
            false => self.dice.below(CONTENTS).to_string(),
        };
        let schedules = ["hourly", "daily", "weekly", "*:0/20", "at noon"];
        AutoSetRequest {
            namespace,
            name,
            source: CreateSource::Path(WirePath::new(source.as_bytes())),
            schedule: self.dice.of(&schedules).to_owned(),
            memory: false,
        }
    }

    /// To anywhere within some decades, now and then by so little that it does not count.
    pub(super) fn jump(&mut self) -> Call {
        let by: i64 = match self.dice.below(10) {
            0 => 20 * 60,
            1 => -20 * 60,
            2 => 31 * 60,
            3 => -31 * 60,
            4 => 40 * 86_400,
            5 => -40 * 86_400,
            6 => 10 * 365 * 86_400,
            7 => -10 * 365 * 86_400,
            // To where the clock began.
            _ => super::super::BEGIN - self.plain.now,
        };
        Call::Jump(by)
    }
}

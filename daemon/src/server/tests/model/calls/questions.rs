//! Listings that are asked for.

use snap_api::{HistoryRequest, ListRequest, MovesRequest, PolicyListRequest};

use super::{Call, draw::Draw};

const FILTERS: [&str; 22] = [
    "state=active",
    "state=failed",
    "state=creating",
    "name=web",
    "name=*:v?",
    "name=b*f*",
    "pinned=true",
    "pinned=false",
    "label=team",
    "label=kind=0",
    "path=/srv/*",
    "source=*1",
    "container=?eb*",
    "image=busy*",
    "created>1h",
    "created<2days",
    "expires>1h 30m",
    "expires<10days",
    "size>2K",
    "size<4000",
    "stored>0",
    "stored<1",
];
const ORDERS: [&str; 7] = [
    "created",
    "created:desc",
    "name",
    "name:desc",
    "size",
    "stored:desc",
    "expires",
];

impl Draw<'_> {
    pub(super) fn policy_list(&mut self) -> Call {
        Call::PolicyList(PolicyListRequest {
            namespace: self.dice.percent(50).then(|| self.namespace()),
            name: self.dice.percent(50).then(|| self.name()),
            cursor: None,
            limit: 2,
        })
    }

    pub(super) fn trash_list(&mut self) -> ListRequest {
        ListRequest {
            namespace: self.dice.percent(50).then(|| self.namespace()),
            limit: u32::try_from(self.dice.of(&[0, 2])).unwrap(),
            ..ListRequest::default()
        }
    }

    pub(super) fn list(&mut self) -> ListRequest {
        let mut filters: Vec<String> = (0..self.dice.below(4))
            .map(|_| self.dice.of(&FILTERS).to_owned())
            .collect();
        if self.dice.percent(3) {
            filters.push("colour=red".to_owned());
        }
        ListRequest {
            namespace: self.dice.percent(60).then(|| self.namespace()),
            cursor: None,
            limit: u32::try_from(self.dice.of(&[0, 1, 5])).unwrap(),
            filters,
            sort: self
                .dice
                .percent(50)
                .then(|| self.dice.of(&ORDERS).to_owned()),
        }
    }

    pub(super) fn history(&mut self) -> Call {
        Call::History(HistoryRequest {
            namespace: self.namespace(),
            name: self.name(),
            cursor: None,
            limit: u32::try_from(self.dice.of(&[0, 2])).unwrap(),
        })
    }

    pub(super) fn moves(&mut self) -> Call {
        Call::Moves(MovesRequest {
            namespace: self.namespace(),
            name: self.name(),
        })
    }
}

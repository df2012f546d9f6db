use std::{cell::Cell, collections::BTreeMap};

use prost::Message;

use super::{
    messages::{Descriptor, Inet, OpenFile, Regular, Task, Unix},
    *,
};

#[derive(Default)]
struct Made(BTreeMap<String, Vec<u8>>);

impl Images for Made {
    fn image(&self, name: &str, limit: u32) -> Option<Vec<u8>> {
        let mut bytes = self.0.get(name)?.clone();
        bytes.truncate(limit as usize);
        Some(bytes)
    }
}

impl Made {
    fn put(&mut self, name: &str, messages: &[Vec<u8>]) {
        let mut image = b"\x19\x43\x56\x54kind".to_vec();
        for message in messages {
            image.extend(u32::try_from(message.len()).unwrap().to_le_bytes());
            image.extend(message);
        }
        self.0.insert(name.to_owned(), image);
    }
}

fn mapping(start: u64, status: u32, file: u64) -> Vec<u8> {
    let mapping = Mapping {
        start,
        end: start + 0x4000,
        file,
        access: 5,
        status,
    };
    mapping.encode_to_vec()
}

fn sample() -> Made {
    let mut made = Made::default();
    let process = |pid, parent, threads: &[u32]| {
        let threads = threads.to_vec();
        Process {
            pid,
            parent,
            threads,
        }
        .encode_to_vec()
    };
    made.put("pstree.img", &[process(1, 0, &[1, 5]), process(7, 1, &[7])]);
    for (pid, state) in [(1, 1), (7, messages::DEAD)] {
        let task = Task {
            state,
            name: format!("task{pid}"),
        };
        let core = Core {
            task: Some(task),
            // Newer ones have an image of their own for these.
            ids: None,
        };
        made.put(&format!("core-{pid}.img"), &[core.encode_to_vec()]);
        made.put(
            &format!("ids-{pid}.img"),
            &[Ids { files: 3 }.encode_to_vec()],
        );
    }
    let mappings = vec![mapping(0x1000, 1 << 6, 9), mapping(0x8000, HEAP, 0)];
    made.put("mm-1.img", &[Mappings { mappings }.encode_to_vec()]);
    let pages = |address, short_count, flags| {
        let pages = Pages {
            address,
            short_count,
            flags,
            long_count: None,
        };
        pages.encode_to_vec()
    };
    let runs = [
        vec![8, 1],
        pages(0x9000, 2, Some(4)),
        pages(0x1000, 1, Some(1)),
    ];
    made.put("pagemap-1.img", &runs);
    put_files(&mut made);
    made
}

fn put_files(made: &mut Made) {
    let descriptor = |file, kind, number| Descriptor { file, kind, number }.encode_to_vec();
    made.put(
        "fdinfo-3.img",
        &[
            descriptor(9, 1, 0),
            descriptor(10, 4, 3),
            descriptor(11, 5, 4),
        ],
    );
    let file = |id, kind| OpenFile {
        id,
        kind,
        ..OpenFile::default()
    };
    let regular = Some(Regular {
        path: "/bin/sh".to_owned(),
    });
    let inet = Some(Inet {
        family: 2,
        protocol: 6,
        state: 10,
        port: 8000,
        address: vec![0x0100_007f],
        ..Inet::default()
    });
    let unix = Some(Unix {
        state: 7,
        name: b"\0name".to_vec(),
    });
    let files = [
        OpenFile {
            regular,
            ..file(9, 1)
        },
        OpenFile {
            inet,
            ..file(10, 4)
        },
        OpenFile {
            unix,
            ..file(11, 5)
        },
    ];
    made.put("files.img", &files.map(|file| file.encode_to_vec()));
}

#[test]
fn processes_are_told_with_what_they_have() {
    let contents = read(&sample());
    assert!(!contents.partial);
    let [first, dead] = &contents.processes[..] else {
        panic!("{contents:?}");
    };
    assert_eq!((first.pid, first.parent, first.threads), (1, 0, 2));
    assert_eq!((&*first.name, first.stored_bytes), ("task1", 8192));
    let mappings: Vec<_> = first
        .mappings
        .iter()
        .map(|one| (&*one.what, one.stored_bytes))
        .collect();
    assert_eq!(mappings, [("/bin/sh", 0), ("heap", 8192)]);
    assert_eq!(first.mappings[0].access, "r-x");
    let open: Vec<_> = first
        .open
        .iter()
        .map(|one| one.what.as_deref().unwrap())
        .collect();
    assert_eq!(open, ["/bin/sh", "tcp 127.0.0.1:8000 listening", "@name"]);
    assert_eq!((dead.pid, dead.open.len(), dead.mappings.len()), (7, 0, 0));
}

#[test]
fn what_is_missing_or_cut_is_left_out_with_a_word() {
    assert!(read(&Made::default()).partial);
    let whole = sample();
    let read_ones = whole.0.iter().filter(|(name, _)| *name != "ids-7.img");
    for (name, image) in read_ones {
        for length in 0..image.len() {
            let mut cut = sample();
            cut.0.insert(name.clone(), image[..length].to_vec());
            read(&cut);
        }
        let mut without = sample();
        without.0.remove(name);
        let contents = read(&without);
        assert!(contents.partial || name == "files.img", "{name}");
    }
}

#[test]
fn an_answer_is_bounded_whatever_the_images_say() {
    let mut made = sample();
    let process = Process {
        pid: 1,
        parent: 0,
        threads: vec![1],
    }
    .encode_to_vec();
    made.put("pstree.img", &vec![process; MAX_PROCESSES + 10]);
    let mappings = vec![mapping(0x1000, 0, 0); MAX_MAPPINGS + 10];
    made.put("mm-1.img", &[Mappings { mappings }.encode_to_vec()]);
    let contents = read(&made);
    assert!(contents.partial);
    assert_eq!(contents.processes.len(), MAX_PROCESSES);
    let mappings = contents.processes.iter().map(|one| one.mappings.len());
    assert_eq!(mappings.sum::<usize>(), MAX_MAPPINGS);
    let long = "é".repeat(10_000);
    assert!(cut(&long).len() <= MAX_TEXT_BYTES + 4);
}

/// Images that are all as large as they may be: of many processes, each of which has a few.
struct Large {
    tree: Made,
    given: Cell<usize>,
}

impl Images for Large {
    fn image(&self, name: &str, limit: u32) -> Option<Vec<u8>> {
        let image = self.tree.image(name, limit).unwrap_or_else(|| {
            let mut image = b"\x19\x43\x56\x54kind".to_vec();
            image.resize(limit as usize, 0);
            image
        });
        self.given.set(self.given.get() + image.len());
        Some(image)
    }
}

/// Five hundred processes with four such images each were eight gigabytes to read and to decode for one question.
#[test]
fn the_images_of_all_processes_together_are_read_up_to_a_limit() {
    let process = |pid| Process {
        pid,
        parent: 0,
        threads: vec![pid],
    };
    let all: Vec<_> = (1..400).map(|pid| process(pid).encode_to_vec()).collect();
    let mut tree = Made::default();
    tree.put("pstree.img", &all);
    let large = Large {
        tree,
        given: Cell::default(),
    };
    let contents = read(&large);
    assert!(contents.partial);
    assert_eq!(contents.processes.len(), all.len());
    assert!(large.given.get() <= MAX_TOTAL_BYTES as usize);
}

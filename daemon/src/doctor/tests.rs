//! What the checks make of hosts other than this one.

use std::{io, path::Path, time::Duration};

use rustix::{io::Errno, process::Rlimit};
use snap_api::{CheckResult, ErrorCode, ErrorReport};

use super::{
    kernel::{freezer, fuse_device, kernel, open_files, overlayfs},
    programs::{containerd, judge_criu, judge_runc, mount_server},
    storage::{
        file_system, judge_backups, judge_file_system, judge_pressure, judge_space, reflinks,
    },
    *,
};
use crate::{
    memory::Criu,
    programs::{Ran, version},
};

const EXT4: rustix::fs::FsWord = 0xef53;
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

fn printed(text: &str) -> Ran {
    Ran::Well(text.to_owned())
}

#[test]
fn known_damage_is_a_problem() {
    assert_eq!(storage::damage(0, 0).result, CheckResult::Ok);
    assert_eq!(storage::damage(1, 0).result, CheckResult::Problem);
    assert_eq!(storage::damage(0, 1).result, CheckResult::Problem);
}

#[test]
fn versions_are_found_in_what_programs_print() {
    for (text, expected) in [
        ("6.18.5", Some((6, 18))),
        ("5.15.0-91-generic", Some((5, 15))),
        ("1.6.20~ds1 v1", Some((1, 6))),
        ("v2.1.3", Some((2, 1))),
        ("runc version 1.1.5+ds1", Some((1, 1))),
        ("none", None),
        ("7", None),
    ] {
        assert_eq!(version(text), expected, "{text}");
    }
}

#[test]
fn kernels_are_judged_by_what_they_can_do() {
    assert_eq!(kernel("6.9.0").result, CheckResult::Ok);
    assert_eq!(kernel("6.1.0-18-amd64").result, CheckResult::Warning);
    assert_eq!(kernel("5.10.0").result, CheckResult::Problem);
    assert_eq!(kernel("hurd").result, CheckResult::Warning);
}

#[test]
fn a_plain_file_is_no_fuse_device() {
    assert_eq!(fuse_device(Path::new("/dev/null")).result, CheckResult::Ok);
    assert_eq!(
        fuse_device(Path::new("/proc/version")).result,
        CheckResult::Problem
    );
    assert_eq!(
        fuse_device(Path::new("/no/such")).result,
        CheckResult::Problem
    );
}

#[test]
fn overlayfs_is_looked_for_by_its_whole_name() {
    let known = Ok("nodev\ttmpfs\nnodev\toverlay\n\text4\n".to_owned());
    assert_eq!(overlayfs(&known).result, CheckResult::Ok);
    let unknown = Ok("nodev\toverlayish\n".to_owned());
    assert_eq!(overlayfs(&unknown).result, CheckResult::Problem);
    let unreadable = Err(io::Error::other("no proc"));
    assert_eq!(overlayfs(&unreadable).result, CheckResult::Warning);
}

#[test]
fn the_freezer_of_either_version_will_do() {
    let one = "cgroup /sys/fs/cgroup/freezer cgroup rw,nosuid,freezer 0 0\n\
               cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    let check = freezer(&Ok(one.to_owned()));
    assert_eq!(check.result, CheckResult::Ok);
    assert_eq!(check.found, "version 1 at /sys/fs/cgroup/freezer");
    let two = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
    assert_eq!(freezer(&Ok(two.to_owned())).found, "version 2");
    let none = "proc /proc proc rw 0 0\n";
    assert_eq!(freezer(&Ok(none.to_owned())).result, CheckResult::Problem);
}

#[test]
fn few_open_files_are_warned_of() {
    let limit = |current| Rlimit {
        current,
        maximum: None,
    };
    assert_eq!(open_files(&limit(Some(1024))).result, CheckResult::Warning);
    assert_eq!(open_files(&limit(Some(65_536))).result, CheckResult::Ok);
    assert_eq!(open_files(&limit(None)).result, CheckResult::Ok);
}

#[test]
fn an_old_containerd_is_warned_of_and_a_silent_one_is_a_problem() {
    assert_eq!(containerd(Ok("1.6.20".to_owned())).result, CheckResult::Ok);
    assert_eq!(
        containerd(Ok("1.4.3".to_owned())).result,
        CheckResult::Warning
    );
    let report = ErrorReport::new(ErrorCode::Unavailable, "containerd-away", "Nobody answers");
    let check = containerd(Err(report.into()));
    assert_eq!(check.result, CheckResult::Problem);
    assert_eq!(check.found, "Nobody answers");
}

#[test]
fn runc_is_needed_and_criu_only_wanted() {
    let missing = || Ran::NotAtAll("x: not found".to_owned());
    assert_eq!(
        judge_runc(&missing(), &missing()).result,
        CheckResult::Problem
    );
    assert_eq!(
        judge_criu(&Criu::judge(&missing(), &missing(), false)).result,
        CheckResult::Warning
    );
    let old = printed("runc version 1.0.3\ncommit: x");
    assert_eq!(
        judge_runc(&old, &printed("{}")).result,
        CheckResult::Warning
    );
    let good = printed("runc version 1.1.5+ds1\ncommit: x");
    assert_eq!(
        judge_runc(&good, &printed("{}")).found,
        "runc version 1.1.5+ds1"
    );
}

#[test]
fn a_criu_is_judged_by_what_it_makes_of_this_kernel() {
    let old = printed("Version: 3.17.1\n");
    let judge = |check| judge_criu(&Criu::judge(&old, &check, false));
    assert_eq!(judge(printed("Looks good.\n")).result, CheckResult::Ok);
    let unfit = judge(Ran::Badly(
        "exit status: 1: vdso: Unexpected rt vDSO area bounds".to_owned(),
    ));
    assert_eq!(unfit.result, CheckResult::Warning);
    assert!(unfit.found.contains("unfit for this kernel"));
    assert!(unfit.hint.unwrap().contains("newer"));
    let stuck = judge(Ran::NotAtAll("criu: no answer in five seconds".to_owned()));
    assert_eq!(stuck.result, CheckResult::Warning);
    let failed = Ran::Badly("x".to_owned());
    let confined = |text| judge_criu(&Criu::judge(&printed(text), &failed, true)).result;
    assert_eq!(confined("Version: 3.17.1\n"), CheckResult::Warning);
    assert_eq!(confined("Version: 4.2.1\n"), CheckResult::Ok);
}

#[test]
fn the_mount_server_must_be_executable() {
    let result = |path| mount_server(Path::new(path)).result;
    assert_eq!(result("/bin/sh"), CheckResult::Ok);
    assert_eq!(result("/etc/passwd"), CheckResult::Problem);
    assert_eq!(result("/no/such"), CheckResult::Problem);
}

#[test]
fn file_systems_that_cannot_hold_an_upper_layer_are_a_problem() {
    let result = |kind, types, xattrs| judge_file_system(kind, types, xattrs).result;
    assert_eq!(result(EXT4, Ok(true), Ok(())), CheckResult::Ok);
    assert_eq!(result(TMPFS, Ok(true), Ok(())), CheckResult::Warning);
    assert_eq!(result(OVERLAYFS, Ok(true), Ok(())), CheckResult::Problem);
    assert_eq!(result(EXT4, Ok(false), Ok(())), CheckResult::Problem);
    let refused = Err(Errno::OPNOTSUPP);
    assert_eq!(result(EXT4, Ok(true), refused), CheckResult::Problem);
}

#[test]
fn the_reserve_is_where_space_becomes_a_problem() {
    assert_eq!(judge_space(100, 100).result, CheckResult::Problem);
    assert_eq!(judge_space(150, 100).result, CheckResult::Warning);
    assert_eq!(judge_space(300, 100).result, CheckResult::Ok);
}

#[test]
fn a_disk_between_the_marks_is_warned_of() {
    let result = |used, high| judge_pressure(used, 85, high).result;
    assert_eq!(result(84, 95), CheckResult::Ok);
    assert_eq!(result(85, 95), CheckResult::Warning);
    assert_eq!(result(95, 95), CheckResult::Problem);
    assert_eq!(result(100, 100), CheckResult::Ok);
}

#[test]
fn a_backup_that_is_late_is_warned_of() {
    let day = 86_400;
    let result = |age| judge_backups(Some(Duration::from_secs(86_400)), age).result;
    assert_eq!(result(Some(day)), CheckResult::Ok);
    assert_eq!(result(Some(-day)), CheckResult::Ok);
    assert_eq!(result(Some(3 * day)), CheckResult::Warning);
    assert_eq!(result(None), CheckResult::Warning);
    assert_eq!(judge_backups(None, None).result, CheckResult::Ok);
}

#[test]
fn looking_at_a_folder_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    file_system(folder.path());
    reflinks(folder.path());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_root_is_a_problem_and_no_panic() {
    let missing = Path::new("/no/such/root");
    assert_eq!(file_system(missing).result, CheckResult::Problem);
    assert_eq!(reflinks(missing).result, CheckResult::Warning);
    assert_eq!(storage::space(missing, 0).result, CheckResult::Problem);
}

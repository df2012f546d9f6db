use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::serve::flights::Kind;

const PATIENCE: Duration = Duration::from_secs(20);

fn about(unique: u64) -> About {
    About {
        unique,
        kind: Kind::Read,
        node: 1,
        offset: 0,
        size: 4096,
    }
}

/// A crew whose source hangs when it is told to, and the numbers of requests it refused.
fn crew(at_once: usize, helpers: usize, deadline: Duration) -> (Crew<()>, Receiver<u64>) {
    let (tell, told) = channel();
    let options = CrewOptions {
        at_once,
        helpers,
        deadline,
        on_standstill: || {},
    };
    let on_refusal = move |(): &(), flight: &Flight| tell.send(flight.about.unique).unwrap();
    (Crew::new((), options, Box::new(on_refusal)), told)
}

/// Submits, on a thread of its own, a request whose source hangs until the sender is dropped; returns once it hangs.
fn hang(crew: &Crew<()>, unique: u64) -> Sender<()> {
    let (release, held) = channel::<()>();
    let (tell, hangs) = channel();
    let crew = crew.clone();
    thread::spawn(move || {
        crew.submit(about(unique), move |()| {
            tell.send(()).unwrap();
            let _ = held.recv();
        });
    });
    hangs.recv_timeout(PATIENCE).unwrap();
    release
}

/// Submits a request and returns where its answer arrives.
fn ask(crew: &Crew<()>, unique: u64) -> Receiver<u64> {
    let (tell, told) = channel();
    crew.submit(about(unique), move |()| tell.send(unique).unwrap());
    told
}

fn wait_until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_request_is_answered_by_the_thread_that_took_it() {
    let (crew, _refused) = crew(1, 0, PATIENCE);
    assert_eq!(ask(&crew, 1).try_recv(), Ok(1));
    assert_eq!(crew.report().flights, []);
}

#[test]
fn who_has_finished_goes_on_with_what_waits_in_line() {
    let (crew, _refused) = crew(1, 0, PATIENCE * 10);
    let release = hang(&crew, 1);
    let waiting = ask(&crew, 2);
    let uniques: Vec<_> = crew
        .report()
        .flights
        .iter()
        .map(|flight| flight.about.unique)
        .collect();
    assert_eq!(uniques, [1, 2]);
    drop(release);
    assert_eq!(waiting.recv_timeout(PATIENCE), Ok(2));
}

#[test]
fn nothing_is_left_in_line_however_requests_meet() {
    let (crew, _refused) = crew(2, 0, PATIENCE * 10);
    let answered = Arc::new(AtomicUsize::new(0));
    let ask_many = || {
        for unique in 0..5000 {
            let answered = Arc::clone(&answered);
            let answer = move |(): &()| {
                let _ = answered.fetch_add(1, SeqCst);
            };
            crew.submit(about(unique), answer);
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(ask_many);
        }
    });
    assert_eq!(answered.load(SeqCst), 20_000);
    assert_eq!(crew.report().flights, []);
}

#[test]
fn those_behind_one_that_hangs_are_answered_by_helpers() {
    let (crew, _refused) = crew(1, 2, Duration::from_secs(3600));
    let release = hang(&crew, 1);
    assert_eq!(ask(&crew, 2).recv_timeout(PATIENCE), Ok(2));
    assert_eq!(ask(&crew, 3).recv_timeout(PATIENCE), Ok(3));
    wait_until(|| crew.report().flights.len() == 1);
    drop(release);
}

#[test]
fn one_that_hangs_is_refused_once_and_its_thread_counted_until_it_comes_back() {
    let (crew, refused) = crew(1, 0, Duration::from_millis(50));
    let release = hang(&crew, 1);
    assert_eq!(refused.recv_timeout(PATIENCE), Ok(1));
    wait_until(|| crew.report().lost == 1);
    drop(release);
    wait_until(|| crew.report().lost == 0);
    assert_eq!(crew.report().refused, 1);
    assert_eq!(ask(&crew, 2).recv_timeout(PATIENCE), Ok(2));
}

#[test]
fn one_that_waits_too_long_is_refused_and_never_answered() {
    let (crew, refused) = crew(1, 0, Duration::from_millis(50));
    let release = hang(&crew, 1);
    let waiting = ask(&crew, 2);
    assert_eq!(waiting.recv_timeout(PATIENCE).ok(), None);
    drop(release);
    let mut both = [(); 2].map(|()| refused.recv_timeout(PATIENCE).unwrap());
    both.sort_unstable();
    assert_eq!(both, [1, 2]);
}

#[test]
fn when_every_thread_is_lost_requests_are_refused_at_once() {
    let (crew, refused) = crew(1, 0, Duration::from_millis(50));
    let release = hang(&crew, 1);
    assert_eq!(refused.recv_timeout(PATIENCE), Ok(1));
    let late = ask(&crew, 2);
    assert!(late.try_recv().is_err());
    assert_eq!(refused.recv_timeout(PATIENCE), Ok(2));
    drop(release);
}

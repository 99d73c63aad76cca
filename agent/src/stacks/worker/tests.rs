use std::{fs, io::Write as _, process, time::Instant};

use super::*;

const USER: Wants = Wants { user: true, kernel: false };
const LIMIT: Option<Duration> = Some(Duration::from_secs(30));

fn nothing(pid: u32) -> Sample<'static> {
    Sample { program: Program { pid, number: 0 }, tid: pid, user: Taken::Nothing, kernel: &[] }
}

/// Returns the results that have come back.
fn taken(worker: &mut Worker<u32>, limit: Option<Duration>) -> Vec<(u32, Stacks)> {
    let mut taken = Vec::new();
    worker.take(limit, &mut |stacks, tag| taken.push((tag, stacks)), &mut |_, _| {});
    taken
}

/// Makes a handle without a thread, so that nothing ever comes back.
fn without_thread() -> (Worker<u32>, mpsc::Receiver<Work<u32>>, mpsc::Sender<Outcome<u32>>) {
    let (work, to_do) = mpsc::channel();
    let (done, outcomes) = mpsc::channel();
    (Worker { work, outcomes, waiting: 0, waiting_bytes: 0, stuck: false }, to_do, done)
}

#[test]
fn every_sample_comes_back_in_its_order_with_what_was_wanted_of_it() {
    let mut worker = Worker::start().unwrap();
    let both = Wants { user: true, kernel: true };
    for tag in 0..1000 {
        assert!(worker.give(&nothing(process::id()), if tag % 2 == 0 { USER } else { both }, tag));
    }
    let taken = taken(&mut worker, LIMIT);
    assert_eq!(taken.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    for (tag, stacks) in taken {
        assert_eq!(stacks.user.unwrap().extent, Extent::Missing("no stack in user space"));
        assert_eq!(stacks.kernel.is_some(), tag % 2 != 0);
    }
    assert_eq!((worker.waiting, worker.waiting_bytes), (0, 0));
}

#[test]
fn it_goes_on_after_it_has_forgotten() {
    let mut worker = Worker::start().unwrap();
    for tag in 0..3 {
        assert!(worker.give(&nothing(process::id()), USER, tag));
        worker.forget();
    }
    assert_eq!(taken(&mut worker, LIMIT).len(), 3);
}

#[test]
fn what_waits_has_a_bound() {
    let (mut worker, _to_do, _done) = without_thread();
    let bytes = vec![0; 64 << 10];
    let user = Taken::Copy { registers: Registers::default(), bytes: &bytes, cut: false };
    let sample = Sample { user, ..nothing(1) };
    let given = (0..1000).take_while(|_| worker.give(&sample, USER, 0)).count();
    assert_eq!(given, MOST_WAITING / (bytes.len() + SAMPLE_BYTES));
}

#[test]
fn a_wait_in_vain_is_not_repeated() {
    let (mut worker, _to_do, done) = without_thread();
    assert!(worker.give(&nothing(1), USER, 7));
    let limit = Duration::from_millis(50);
    let begin = Instant::now();
    assert!(taken(&mut worker, Some(limit)).is_empty());
    assert!(begin.elapsed() >= limit && worker.stuck);
    // The worker is stuck already, so this call does not wait, least of all for an hour.
    assert!(taken(&mut worker, Some(Duration::from_secs(3600))).is_empty());
    done.send(Outcome::Resolved { stacks: Stacks::default(), bytes: SAMPLE_BYTES, tag: 7 }).unwrap();
    assert_eq!(taken(&mut worker, LIMIT).len(), 1);
    assert!(!worker.stuck);
}

#[test]
fn without_its_thread_nothing_is_taken_and_nothing_waits() {
    let (mut worker, to_do, done) = without_thread();
    drop((to_do, done));
    assert!(!worker.give(&nothing(1), USER, 0));
    assert!(taken(&mut worker, LIMIT).is_empty());
}

/// A list of generated code for this process, in the form that runtimes write.
struct Written {
    path: String,
    file: fs::File,
}

impl Written {
    fn new() -> Self {
        let path = format!("/tmp/perf-{}.map", process::id());
        Self { file: fs::File::create(&path).unwrap(), path }
    }

    fn add(&mut self, address: u64, name: &str) {
        writeln!(self.file, "{address:x} 10 {name}").unwrap();
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // A file that stays in /tmp does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn a_function_that_was_named_just_before_is_looked_at_again() {
    // No process has code at this address.
    const FIRST: u64 = 0x1000;
    let mut written = Written::new();
    let mut worker = Worker::start().unwrap();
    let number = |round: u32| FIRST + u64::from(round) * 0x10;
    // Many rounds, since the sample has to wait for another attempt only if the list was read just before.
    for round in 0..20 {
        written.add(number(round), &format!("made{round}"));
        let addresses = [number(round)];
        let sample = Sample { user: Taken::Addresses(&addresses), ..nothing(process::id()) };
        assert!(worker.give(&sample, USER, round));
        // Gives the thread time for its first attempt: the sample comes back named, or waits for another attempt.
        taken(&mut worker, Some(Duration::from_millis(1))).iter().for_each(assert_named);
        worker.stuck = false;
    }
    taken(&mut worker, LIMIT).iter().for_each(assert_named);
    assert_eq!(worker.waiting, 0);
}

fn assert_named((round, stacks): &(u32, Stacks)) {
    let names: Vec<_> =
        stacks.user.iter().flat_map(|stack| &stack.frames).map(|frame| frame.name.clone()).collect();
    assert_eq!(names, [format!("made{round}")]);
}

#[test]
fn what_waits_for_another_look_has_a_bound_and_comes_back_at_the_end() {
    let mut worker = Worker::start().unwrap();
    // Nothing is ever mapped at this address, so each sample waits for more attempts.
    let addresses = [0x20; 1000];
    let sample = Sample { user: Taken::Addresses(&addresses), ..nothing(process::id()) };
    let most = MOST_WAITING / (SAMPLE_BYTES + size_of_val(&addresses));
    let given = (0..most as u32).filter(|tag| worker.give(&sample, USER, *tag)).count();
    worker.forget();
    assert_eq!(taken(&mut worker, LIMIT).len(), given);
    assert_eq!((worker.waiting, worker.waiting_bytes), (0, 0));
}

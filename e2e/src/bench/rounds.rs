//! Rounds: the same workers take turns of a few milliseconds (slices). A round has three blocks of such turns: with a
//! switch off, on, and off again.
//!
//! * Slices alternate, so other work of the machine affects all workers alike; a block's figure is its median slice.
//! * A block with the switch on is compared with the mean of the blocks before and after it, so a machine that slows
//!   down favours neither.
//! * Every round starts its own workers, since the memory layout of a process changes its speed by some thousandths.
//! * The processor of the load never idles within a round: work after a pause is slower.

use std::time::{Duration, Instant};

use super::{
    interrupt, programs,
    stats::{Estimate, median},
    switch::Switch,
    worker::Worker,
};
use crate::support::{Result, TestError};

/// Workers that take turns.
pub(super) type Crew = Vec<Box<dyn Worker>>;

/// A measurement may end when the half-width of each 95 % interval is at most this. The figures are ratios near 1, so
/// this is 0.7 %.
const PRECISE: f64 = 0.007;
/// Minimum number of rounds before a narrow interval is trusted.
const BELIEVED: usize = 12;
/// Minimum number of rounds, even when the time is over: a bootstrap of fewer says too little.
const FEWEST: usize = 6;
/// Timeout of a switch to another level.
const LIMIT: Duration = Duration::from_secs(30);
/// Number of passes through the crew (a turn of every worker) after each change of the switch, whose slices are
/// discarded.
const SETTLING: usize = 1;

/// Description of a measurement.
pub(super) struct Plan {
    /// Name of the measurement, for the progress on standard error.
    pub(super) name: String,
    /// Number of passes through the crew in each block; each worker has two slices in a pass.
    pub(super) passes: usize,
    /// Number of levels of the switch; each round turns on all of them, one after the other.
    pub(super) levels: usize,
    /// Time after which no new round begins.
    pub(super) limit: Duration,
}

/// Cost of an operation in ns for each worker: with the switch off (mean of the blocks before and after), and on.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) off: Vec<f64>,
    pub(super) on: Vec<f64>,
}

/// All rounds, by level.
pub(super) struct Measured {
    pub(super) levels: Vec<Vec<Round>>,
    took: Duration,
    /// Number of rounds that began and ended with different BPF links of other processes.
    disturbed: usize,
    /// Largest number of BPF links of other processes.
    foreign: usize,
}

impl Measured {
    /// Estimates a figure from the rounds of a level.
    pub(super) fn estimate(&self, level: usize, figure: impl Fn(&Round) -> f64) -> Estimate {
        let values: Vec<f64> = self.levels[level].iter().map(figure).collect();
        Estimate::of(&values)
    }

    /// Describes the number of rounds, the time that they took, and other BPF programs, if there were any.
    pub(super) fn effort(&self) -> String {
        let rounds = self.levels.first().map_or(0, Vec::len);
        let mut text = format!("{rounds} rounds in {:.0} s", self.took.as_secs_f64());
        if self.foreign > 0 {
            let Self { foreign, disturbed, .. } = self;
            text += &format!(
                "; other processes had up to {foreign} BPF links, which changed in {disturbed} rounds"
            );
        }
        text
    }
}

/// Repeats rounds until every estimate that `watched` returns is within ±0.7 %, or the time is over.
pub(super) fn run(
    plan: &Plan,
    switch: &mut dyn Switch,
    mut hire: impl FnMut() -> Result<Crew>,
    watched: impl Fn(&Measured) -> Vec<Estimate>,
) -> Result<Measured> {
    let begin = Instant::now();
    let levels = (0..plan.levels).map(|_| Vec::new()).collect();
    let mut measured = Measured { levels, took: Duration::ZERO, disturbed: 0, foreign: 0 };
    for count in 1_usize.. {
        let mut crew = hire()?;
        let before = programs::links();
        round(plan, switch, &mut crew, &mut measured)?;
        let after = programs::links();
        measured.disturbed += usize::from(before != after);
        measured.foreign = measured.foreign.max(before.len()).max(after.len());
        measured.took = begin.elapsed();
        let over = measured.took >= plan.limit && count >= FEWEST;
        // Estimates are computed only now and then, since each takes about as long as a slice.
        if over || count.is_multiple_of(4) {
            let worst = watched(&measured).iter().map(Estimate::uncertainty).fold(0.0, f64::max);
            eprintln!("{}: {}, ±{:.1} %", plan.name, measured.effort(), worst * 100.0);
            if over || count >= BELIEVED && worst <= PRECISE {
                break;
            }
        }
    }
    Ok(measured)
}

/// Runs one round: off, on, off for each level. A block that is off between two levels counts for both.
fn round(plan: &Plan, switch: &mut dyn Switch, crew: &mut Crew, measured: &mut Measured) -> Result<()> {
    let mut order: Vec<usize> = (0..plan.levels).collect();
    fastrand::shuffle(&mut order);
    settle(crew)?;
    let mut before = block(crew, plan.passes)?;
    for level in order {
        to(switch, Some(level), crew)?;
        let on = block(crew, plan.passes)?;
        to(switch, None, crew)?;
        let after = block(crew, plan.passes)?;
        let off = before.iter().zip(&after).map(|(before, after)| f64::midpoint(*before, *after)).collect();
        measured.levels[level].push(Round { off, on });
        before = after;
    }
    Ok(())
}

/// Switches to a level, or off, while the first worker keeps the processor busy.
pub(super) fn to(switch: &mut dyn Switch, level: Option<usize>, crew: &mut Crew) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let mut begun = false;
    loop {
        interrupt::check()?;
        if let Some(busy) = crew.first_mut() {
            busy.begin()?;
        }
        let done = if begun { switch.done()? } else { switch.begin(level).map(|()| false)? };
        begun = true;
        if let Some(busy) = crew.first_mut() {
            busy.end()?;
        }
        if done {
            return settle(crew);
        }
        if Instant::now() >= deadline {
            return Err(TestError::Deadline {
                what: format!("{switch} to be {}", if level.is_some() { "on" } else { "off" }),
                limit: LIMIT,
                last: "nothing".to_owned(),
            });
        }
    }
}

fn settle(crew: &mut Crew) -> Result<()> {
    block(crew, SETTLING).map(drop)
}

/// Runs one block; returns the median of each worker's slices, as ns for one operation. Each pass takes the workers in
/// a random order, forwards and then backwards, so that on average no worker runs earlier or warmer, or always after
/// the same other one.
fn block(crew: &mut Crew, passes: usize) -> Result<Vec<f64>> {
    let mut slices = vec![Vec::new(); crew.len()];
    let mut order: Vec<usize> = (0..crew.len()).collect();
    for _ in 0..passes {
        interrupt::check()?;
        fastrand::shuffle(&mut order);
        for at in order.iter().chain(order.iter().rev()) {
            slices[*at].push(crew[*at].slice()?);
        }
    }
    Ok(slices.iter().map(|slices| median(slices)).collect())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fmt, rc::Rc};

    use super::*;

    /// A fake machine on which every slice makes the next one slower.
    #[derive(Default)]
    struct Machine {
        slices: Cell<u32>,
        level: Cell<Option<usize>>,
    }

    struct Fake {
        machine: Rc<Machine>,
        cost: f64,
        /// Additional cost for each level, as a share of `cost`.
        pays: f64,
    }

    impl Worker for Fake {
        fn begin(&mut self) -> Result<()> {
            Ok(())
        }

        fn end(&mut self) -> Result<f64> {
            let slices = self.machine.slices.get();
            self.machine.slices.set(slices + 1);
            let levels = self.machine.level.get().map_or(0.0, |level| level as f64 + 1.0);
            Ok(self.cost * (1.0 + f64::from(slices) / 10_000.0) * (1.0 + self.pays * levels))
        }
    }

    struct Lever(Rc<Machine>);

    impl Switch for Lever {
        fn begin(&mut self, level: Option<usize>) -> Result<()> {
            self.0.level.set(level);
            Ok(())
        }

        fn done(&mut self) -> Result<bool> {
            Ok(true)
        }
    }

    impl fmt::Display for Lever {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad("a lever")
        }
    }

    /// Measures two workers, the second of which pays a tenth more for each level.
    fn measured(levels: usize) -> Result<Measured> {
        let machine = Rc::new(Machine::default());
        let plan = Plan { name: "test".to_owned(), passes: 3, levels, limit: Duration::ZERO };
        let hire = || {
            let worker = |pays| Box::new(Fake { machine: Rc::clone(&machine), cost: 500.0, pays });
            Ok(vec![worker(0.0) as Box<dyn Worker>, worker(0.1)])
        };
        run(&plan, &mut Lever(Rc::clone(&machine)), hire, |_| Vec::new())
    }

    #[test]
    fn a_machine_that_gets_slower_favours_nobody() -> Result<()> {
        let measured = measured(1)?;
        let free = measured.estimate(0, |round| round.off[0] / round.on[0]).median;
        let paid = measured.estimate(0, |round| round.off[1] / round.on[1]).median;
        let equal = measured.estimate(0, |round| round.off[0] / round.off[1]).median;
        assert!((free - 1.0).abs() < 0.0005, "{free}");
        assert!((paid - 1.0 / 1.1).abs() < 0.0005, "{paid}");
        assert!((equal - 1.0).abs() < 0.0005, "{equal}");
        Ok(())
    }

    #[test]
    fn every_level_has_its_own_rounds() -> Result<()> {
        let measured = measured(3)?;
        for level in 0..3 {
            let paid = measured.estimate(level, |round| round.on[1] / round.off[1]).median;
            assert!((paid - 1.1 - level as f64 / 10.0).abs() < 0.001, "{paid} at level {level}");
            assert_eq!(measured.levels[level].len(), FEWEST);
        }
        Ok(())
    }
}

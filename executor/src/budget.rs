//! A cooperative budget for long kernel work.

use crate::yields::preempt;

/// Counts steps of a long loop and gives way each time `n` of them are spent. A task whose slice is not used up goes on
/// next unless something of a higher class waits: a thread that is long in the kernel has no smaller share than one in a
/// program.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// executor::spawn(async {
///     let mut budget = executor::Budget::new(64);
///     for _page in 0..1000 {
///         budget.spend(1).await;
///     }
/// }, Default::default());
/// let mut polls = 0;
/// while executor::run_next() == executor::Step::Ran { polls += 1; }
/// assert_eq!(polls, 1000 / 64 + 1);
/// # }
/// ```
#[derive(Debug)]
pub struct Budget {
    size: u32,
    left: u32,
}

impl Budget {
    /// A budget of `n` steps between yields; zero counts as one.
    pub const fn new(n: u32) -> Budget {
        let n = if n == 0 { 1 } else { n };
        Budget { size: n, left: n }
    }

    /// Spends `steps`; if that uses the budget up, gives way to other tasks and starts a new one.
    #[inline]
    pub async fn spend(&mut self, steps: u32) {
        if self.charge(steps) {
            preempt().await;
        }
    }

    /// Spends `steps` and says whether the budget is used up (and begins a new one), for loops
    /// that cannot wait in their middle.
    #[inline]
    pub fn charge(&mut self, steps: u32) -> bool {
        self.left = self.left.saturating_sub(steps);
        let used_up = self.left == 0;
        if used_up {
            self.left = self.size;
        }
        used_up
    }
}

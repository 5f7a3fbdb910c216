//! One value per CPU, each on its own cache line.

use arch::MAX_CPUS;

/// A value alone on its cache line.
#[repr(align(64))]
pub struct Padded<T>(pub T);

/// One `T` per CPU. Each CPU reaches its own by [`PerCpu::this`]; sharing is up to `T` (atomics, a
/// lock), since another CPU may look.
pub struct PerCpu<T>([Padded<T>; MAX_CPUS]);

impl<T> PerCpu<T> {
    /// From one value for each CPU, in a constant expression: `PerCpu::new([const { Padded(..) }; MAX_CPUS])`.
    pub const fn new(values: [Padded<T>; MAX_CPUS]) -> PerCpu<T> {
        PerCpu(values)
    }

    /// A value for each CPU number.
    pub fn from_fn(mut f: impl FnMut(usize) -> T) -> PerCpu<T> {
        PerCpu(core::array::from_fn(|cpu| Padded(f(cpu))))
    }

    /// The running CPU's value.
    #[inline]
    pub fn this(&self) -> &T {
        &self.0[arch::cpu::id() % MAX_CPUS].0
    }

    /// CPU `cpu`'s value.
    ///
    /// # Panics
    /// If `cpu` is not below [`MAX_CPUS`].
    pub fn of(&self, cpu: usize) -> &T {
        &self.0[cpu].0
    }

    /// All CPUs' values.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

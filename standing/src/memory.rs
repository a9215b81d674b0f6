//! What a daemon that runs for months tells the C library about memory.
//!
//! By default each thread allocates from an arena of its own, and what is freed in one is of no use to another; and the size from which a block is given back to the
//! system when it is freed grows with the largest block seen. So a daemon that exports, pulls or imports every few seconds, each time on other threads, came to hold three
//! times what it needs, and more each hour (PERFORMANCE.md has both figures). One arena and fixed limits cost nothing that could be measured: what is large
//! comes from the system either way.

/// Bounds what is kept. To be called before threads are started; commands that end by themselves need not.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    {
        const TRIM_ABOVE: libc::c_int = 64 << 10;
        // SAFETY: both only set numbers in the allocator, which is ready for that at any time. That one is refused changes nothing.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_ABOVE);
        }
    }
}

//! Whether the host has room for one more desktop.

use super::failure::FailReason;

const MIB: u64 = 1024 * 1024;

/// Refuses a start when less than `reserve` bytes of the host's memory are available, because what
/// the kernel would then kill is somebody's running desktop. 0 is no such check.
pub(super) fn memory(reserve: u64) -> Result<(), FailReason> {
    if reserve == 0 {
        return Ok(());
    }
    // A kernel file that is made on reading: no disk, no waiting. Where it is missing (not Linux),
    // the engine's own refusal is what remains.
    let available = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available_bytes(&text));
    match available {
        Some(available) if available < reserve => Err(FailReason::MemoryExhausted {
            available_mib: available / MIB,
            reserve_mib: reserve.div_ceil(MIB),
        }),
        Some(_) | None => Ok(()),
    }
}

/// `MemAvailable` of `/proc/meminfo` (proc(5)), which is given in KiB.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let text = "MemTotal:       24635804 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 * MIB));
        assert_eq!(available_bytes("MemTotal: 5 kB\n"), None);
    }

    #[test]
    fn refuses_below_the_reserve_only() {
        assert_eq!(memory(0), Ok(()));
        assert_eq!(memory(1), Ok(()));
        assert!(matches!(
            memory(u64::MAX),
            Err(FailReason::MemoryExhausted { .. })
        ));
    }
}

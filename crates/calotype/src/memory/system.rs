//! What the operating system says of memory (Linux; elsewhere nothing is known).

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes that the program can still take: the least of what the machine has available, what the limits of its control
/// groups leave, and what its resource limits leave; `None` where the system does not say.
#[must_use]
pub fn available() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    let groups = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| control_groups(&text, Path::new("/sys/fs/cgroup")));
    [machine, groups, resource_limits()].into_iter().flatten().min()
}

/// The bytes of memory that the process holds; `None` where the system does not say.
#[must_use]
pub fn resident() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The most memory that this process ever held, in bytes; `None` where the system does not say.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The value of a line such as `VmHWM:   1234 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the control groups of `/proc/self/cgroup` leave, mounted at `root`: the least over each group and those above it
/// of limit − usage. Pages of files that the kernel can drop count as free.
fn control_groups(text: &str, root: &Path) -> Option<u64> {
    let groups = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        match controllers {
            // v2, mounted alone or beside v1.
            "" => Some((root.to_owned(), path, ["memory.max", "memory.current", "inactive_file"])),
            _ if controllers.split(',').any(|name| name == "memory") => {
                let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
                Some((root.join("memory"), path, names))
            }
            _ => None,
        }
    });
    let left = groups.flat_map(|(mount, path, names)| {
        let within: PathBuf = mount.join(path);
        let folders: Vec<PathBuf> =
            within.ancestors().take_while(|folder| folder.starts_with(&mount)).map(Path::to_owned).collect();
        folders.into_iter().filter_map(move |folder| {
            let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            let [limit, usage, cache] = names;
            // "max" is no number: there is no limit.
            let (limit, usage) = (number(limit)?, number(usage)?);
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok());
            Some(limit.saturating_sub(usage.saturating_sub(cached.unwrap_or(0))))
        })
    });
    left.min()
}

/// What the soft limits of the address space and of the data segment leave.
fn resource_limits() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let left = |limit: &str, used: &str| {
        let soft = limits.lines().find_map(|line| line.strip_prefix(limit))?.split_whitespace().next()?;
        // "unlimited" is no number.
        Some(soft.parse::<u64>().ok()?.saturating_sub(field(&status, used)?))
    };
    [left("Max address space", "VmSize:"), left("Max data size", "VmData:")].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let text = "VmPeak:\t  9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t x kB\n";
        assert_eq!(field(text, "VmHWM:"), Some(1234 * 1024));
        assert_eq!(field(text, "VmRSS:"), None);
        assert_eq!(field(text, "MemAvailable:"), None);
    }

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let root = tempfile::TempDir::new().unwrap();
        let (outer, inner) = (root.path().join("app"), root.path().join("app/worker"));
        write(&outer, &[("memory.max", "1000\n"), ("memory.current", "400\n"), ("memory.stat", "inactive_file 100\n")]);
        write(&inner, &[("memory.max", "max\n"), ("memory.current", "300\n")]);
        assert_eq!(control_groups("0::/app/worker\n", root.path()), Some(700));
        write(&inner, &[("memory.max", "500\n")]);
        assert_eq!(control_groups("0::/app/worker\n", root.path()), Some(200));
        assert_eq!(control_groups("0::/\n", root.path()), None);
        // Version 1, among other controllers.
        let old = root.path().join("memory/docker");
        write(&old, &[("memory.limit_in_bytes", "900\n"), ("memory.usage_in_bytes", "850\n")]);
        assert_eq!(control_groups("5:cpu:/docker\n4:pids,memory:/docker\n0::/\n", root.path()), Some(50));
    }
}

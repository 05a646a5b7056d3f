//! CPU time of processes and threads, as the kernel counts it: user and system, in steps of 10 ms.

use std::path::Path;
use std::time::Duration;

use lkstream_conformance::process::Failure;

/// Time of the process or thread whose `stat` file this is.
pub(crate) fn thread_time(stat: &Path) -> Result<Duration, Failure> {
    Ok(Stat::read(stat)?.time)
}

/// Time of a process.
pub(crate) fn process_time(id: u32) -> Result<Duration, Failure> {
    Ok(Stat::of(id)?.time)
}

/// Time of a process and of all that come from it, as far as they still run.
pub(crate) fn family_time(id: u32) -> Result<Duration, Failure> {
    let mut time = process_time(id)?;
    let mut stats = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.parse::<u32>().ok());
        // One without a file has ended meanwhile.
        stats.extend(id.and_then(|id| Some((id, Stat::of(id).ok()?))));
    }
    let mut parents = vec![id];
    while let Some(parent) = parents.pop() {
        for (id, stat) in stats.iter().filter(|(_, stat)| stat.parent == parent) {
            time += stat.time;
            parents.push(*id);
        }
    }
    Ok(time)
}

/// What is read of a `stat` file.
struct Stat {
    parent: u32,
    time: Duration,
}

impl Stat {
    fn of(id: u32) -> Result<Stat, Failure> {
        Stat::read(Path::new(&format!("/proc/{id}/stat")))
    }

    fn read(path: &Path) -> Result<Stat, Failure> {
        let text = std::fs::read_to_string(path)?;
        // proc_pid_stat(5): the name in parentheses is the second field and may hold anything.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let number = |field: usize| {
            let field = fields.split_whitespace().nth(field - 3);
            field.and_then(|field| field.parse::<u64>().ok())
        };
        let (Some(parent), Some(user), Some(system)) = (number(4), number(14), number(15)) else {
            return Err(Failure::new(format!("{} is cut short", path.display())));
        };
        Ok(Stat {
            parent: u32::try_from(parent)?,
            // USER_HZ is 100 on every Linux that this runs on.
            time: Duration::from_millis(10 * (user + system)),
        })
    }
}

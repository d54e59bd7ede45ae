//! The first process of the namespaces.

use rustix::process::{WaitOptions, wait};
use std::{
    io,
    path::Path,
    process::{Command, ExitCode},
};

/// Starts the supervisor and reaps every process ending in the namespace, since containers without a shim
/// become children of this process. Returns when the supervisor ends; the kernel then kills all other processes
/// of the namespace.
///
/// # Errors
/// When the supervisor cannot be started, or waiting fails.
pub fn run(state: &Path) -> io::Result<ExitCode> {
    let supervisor = Command::new(std::env::current_exe()?).arg("inside-supervise").arg(state).spawn()?;
    let supervisor = i32::try_from(supervisor.id()).map_err(io::Error::other)?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == supervisor => {
                let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

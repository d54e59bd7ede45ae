//! Disks that went back to an earlier state, and copies of disks, are refused; no acknowledged event is lost.

mod restored;

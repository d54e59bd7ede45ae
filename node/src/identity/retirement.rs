//! Retirement: the data of a node is moved aside, and the disk becomes blank.

use super::{
    Bootstrap, DataDir, Error,
    data_dir::{DATABASES, RETIRED},
};
use crate::atomic_file::{self, Error as IoError, sync_dir};
use std::fs;
use uuid::Uuid;

impl DataDir {
    /// Moves the data of this node to `retired/<node id>` and turns the disk into a blank one of the same cluster, with a new
    /// disk id. The databases must be closed, and the process ends afterwards.
    ///
    /// After a crash the next [`DataDir::open`] finishes the retirement before any database is opened: the marker names the
    /// retired node until all data is moved.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn retire(&mut self, new_disk: Uuid) -> Result<(), Error> {
        let Some(node) = self.marker.node_id else { return Ok(()) };
        let place = self.path.join(RETIRED).join(node.to_string());
        fs::create_dir_all(&place).map_err(IoError::at(&place))?;
        sync_dir(&self.path.join(RETIRED))?;
        sync_dir(&self.path)?;
        atomic_file::write(&place, "disk", self.marker.disk_id.to_string().as_bytes())?;
        self.marker.node_id = None;
        self.marker.retiring = Some(node);
        self.marker.disk_id = new_disk;
        self.marker.bootstrap = Bootstrap::No;
        self.save()?;
        self.finish_retirement()
    }

    /// Moves the databases that the retired node left. A missing database was moved before a crash; a database of another
    /// node cannot exist, because none is opened before the retirement is finished.
    pub(super) fn finish_retirement(&mut self) -> Result<(), Error> {
        let Some(node) = self.marker.retiring else { return Ok(()) };
        let place = self.path.join(RETIRED).join(node.to_string());
        for name in DATABASES {
            let from = self.path.join(name);
            if !from.exists() {
                continue;
            }
            fs::rename(&from, place.join(name)).map_err(IoError::at(&from))?;
            sync_dir(&place)?;
        }
        sync_dir(&self.path)?;
        self.marker.retiring = None;
        self.save()
    }
}

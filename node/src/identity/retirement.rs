//! Retirement: the data of a node is moved aside, and the disk becomes blank.

use super::{Bootstrap, DataDir, Error};
use taffrail_core::ids::NodeId;
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
        self.volume.prepare_retirement(NodeId::new(node), self.disk())?;
        self.marker.node_id = None;
        self.marker.retiring = Some(node);
        self.marker.disk_id = new_disk;
        self.marker.bootstrap = Bootstrap::No;
        self.save()?;
        self.finish_retirement()
    }

    /// Moves the databases that the retired node left.
    pub(super) fn finish_retirement(&mut self) -> Result<(), Error> {
        let Some(node) = self.marker.retiring else { return Ok(()) };
        self.volume.retire(NodeId::new(node))?;
        self.marker.retiring = None;
        self.save()
    }
}

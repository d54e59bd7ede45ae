//! Clusters of real processes whose links between nodes are slow.

mod large_append;
mod proxy;

//! StorageClasses that are missing: the named one, or the default one.

use super::{NO_CLASS, Scenario, blocked, nothing_half_done, says};
use anyhow::Context;
use serde_json::{Value, json};
use taffrail_scenarios::scenario::MINUTE;

const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

async fn default_class(s: &Scenario) -> anyhow::Result<Value> {
    let classes = s.get("storageclasses").await?;
    let classes = classes["items"].as_array().context("no StorageClasses")?;
    let is_default = |class: &&Value| class["metadata"]["annotations"][IS_DEFAULT] == "true";
    classes.iter().find(is_default).cloned().context("no default StorageClass")
}

/// The class of a Cluster cannot be changed, but it can be made: as a copy of the default one.
pub(crate) async fn a_class_appears(s: &Scenario) -> anyhow::Result<()> {
    nothing_half_done(s, "noclass").await?;
    let mut class = default_class(s).await?;
    let default = class["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    class["metadata"] = json!({"name": NO_CLASS});
    s.apply(class.to_string()).await?;
    let mended = async {
        if s.local_kube().is_ok() {
            // Our own cluster makes no volumes on demand: one that is free goes over to the new class.
            let volumes = s.get("persistentvolumes").await?;
            let volumes = volumes["items"].as_array().context("no volumes")?;
            let free = |v: &&Value| v["status"]["phase"] == "Available" && v["spec"]["storageClassName"] == *default;
            let free = volumes.iter().find(free).context("no free volume")?;
            let name = free["metadata"]["name"].as_str().context("a volume without name")?;
            s.patch(&format!("pv/{name}"), &json!({"spec": {"storageClassName": NO_CLASS}})).await?;
        }
        s.wait_stable(&["tfc/noclass"], MINUTE * 2).await
    };
    let mended = mended.await;
    s.kubectl.delete(["storageclass", NO_CLASS]).await?;
    println!("j: the class appeared: Stable within {:?}", mended?);
    Ok(())
}

/// A Cluster that names no class, while no class is the default one. On a cluster that is not ours the class is left alone,
/// since others may be making volumes.
pub(crate) async fn no_default(s: &Scenario) -> anyhow::Result<()> {
    if s.local_kube().is_err() {
        println!("j: not our cluster, so its default StorageClass is left as it is");
        return Ok(());
    }
    let class = default_class(s).await?;
    let class = format!("storageclass/{}", class["metadata"]["name"].as_str().context("a class without name")?);
    let default = |is: &str| json!({"metadata": {"annotations": {IS_DEFAULT: is}}});
    s.patch(&class, &default("false")).await?;
    s.apply(blocked("nodefault", 1, &json!({})).to_string()).await?;
    let words = ["data-nodefault-0", "no default StorageClass", "spec.storage.storageClassName", "mark a StorageClass"];
    let told = says(s, "tfc/nodefault", "VolumePending", &words).await;
    let begun = nothing_half_done(s, "nodefault").await;
    // Kubernetes gives claims without a class the default one as soon as there is one.
    s.patch(&class, &default("true")).await?;
    let (told, ()) = (told?, begun?);
    let mended = s.wait_stable(&["tfc/nodefault"], MINUTE * 2).await?;
    println!("j: no default StorageClass was told after {told:?}; marked as default: Stable within {mended:?}");
    Ok(())
}

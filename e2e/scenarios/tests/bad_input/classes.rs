//! Missing StorageClasses: the named class, or the default class.

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

/// Creates the missing class as a copy of the default class, because the class of a Cluster cannot be changed.
pub(crate) async fn a_class_appears(s: &Scenario) -> anyhow::Result<()> {
    nothing_half_done(s, "noclass").await?;
    let mut class = default_class(s).await?;
    let default = class["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    class["metadata"] = json!({"name": NO_CLASS});
    s.apply(class.to_string()).await?;
    let mended = async {
        if s.local_kube().is_ok() {
            // The local Kubernetes has no dynamic provisioning, so a free volume is moved to the new class.
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
    println!("j: the class was created: Stable within {:?}", mended?);
    Ok(())
}

/// Checks a Cluster without a named class while there is no default class. Skipped on an existing cluster, because
/// other users may need the default class.
pub(crate) async fn no_default(s: &Scenario) -> anyhow::Result<()> {
    if s.local_kube().is_err() {
        println!("j: an existing cluster, so its default StorageClass is not changed");
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
    // Kubernetes assigns a new default class to claims without a class.
    s.patch(&class, &default("true")).await?;
    let (told, ()) = (told?, begun?);
    let mended = s.wait_stable(&["tfc/nodefault"], MINUTE * 2).await?;
    println!(
        "j: the missing default StorageClass was reported after {told:?}; marked as default: Stable within {mended:?}"
    );
    Ok(())
}

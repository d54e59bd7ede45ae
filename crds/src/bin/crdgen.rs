//! Writes the files generated from the resource types: the CRDs, their chart templates and the page of conditions.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use taffrail_crds::{export, yaml};

const USAGE: &str = "usage: crdgen            print both CRDs
       crdgen write [DIR]  write the generated files below DIR, the root of the repository (default .)
       crdgen check [DIR]  print each generated file that differs; exit code 1 if any file differs";

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => print_crds(),
        ["write"] => write(Path::new(".")),
        ["write", dir] => write(Path::new(dir)),
        ["check"] => check(Path::new(".")),
        ["check", dir] => check(Path::new(dir)),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn print_crds() -> anyhow::Result<ExitCode> {
    for (_, crd) in export::crds()? {
        println!("---\n{}", yaml::to_string(&crd)?.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn write(root: &Path) -> anyhow::Result<ExitCode> {
    for file in export::files()? {
        let path = root.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot create the directory {}", parent.display()))?;
        }
        std::fs::write(&path, &file.content).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} ({} bytes)", file.path, file.content.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(root: &Path) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in export::files()? {
        if std::fs::read_to_string(root.join(&file.path)).ok().as_deref() != Some(file.content.as_str()) {
            eprintln!("{} differs from the types in crds/src; run `make crds`", file.path);
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

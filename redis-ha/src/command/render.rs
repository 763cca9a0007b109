//! `redis-ha render`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redis_ha::{Certificates, Config, RenderedFile, Secrets, directories, render};

use super::print;
use crate::{Exit, Failure, Global};

/// git's, for a directory.
const IGNORE: &str = ".gitignore";

#[derive(Debug, clap::Args)]
pub(crate) struct Render {
    /// The directory, which is made; files of an earlier rendering are replaced, those that are no longer of the service stay
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(global: &Global, options: &Render) -> Result<Exit, Failure> {
    let config = Config::read(&global.config)?;
    let secrets = Secrets::read(&config)?;
    let certificates = Certificates::read(&config)?;
    let mut text = String::new();
    let files = render(&config, &secrets, &certificates);
    let out = &options.out;
    fs::create_dir_all(out).map_err(|source| Failure::File { step: "make", path: out.clone(), source })?;
    ignored(out).map_err(|source| Failure::File { step: "write", path: out.join(IGNORE), source })?;
    for (dir, mode) in directories(&files) {
        let path = options.out.join(dir);
        directory(&path, mode).map_err(|source| Failure::File { step: "make", path, source })?;
    }
    for file in &files {
        let RenderedFile { text: content, mode, .. } = file;
        let path = options.out.join(file.relative());
        write(&path, content, *mode).map_err(|source| Failure::File {
            step: "write",
            path: path.clone(),
            source,
        })?;
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}", path.display());
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// What is rendered has passwords: git keeps neither them from others nor a file's mode.
fn ignored(out: &Path) -> std::io::Result<()> {
    let path = out.join(IGNORE);
    if path.try_exists()? { Ok(()) } else { fs::write(path, "*\n") }
}

/// Makes one as it is to be where it is copied to, whatever the mask.
fn directory(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Never readable by others, not for a moment, where it is not to be.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let new = path.with_extension("rendering");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode & 0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    fs::rename(&new, path)
}

//! Which steps install, and which undo it: pure.

use std::path::{Path, PathBuf};

use super::content::{Content, Found};
use super::error::InstallError;
use super::files::{HOOK, Texts, UMOUNT, VZNET_CONF};
use super::look::{Host, Seen, half_manifest};
use super::manifest::{Entry, Manifest, STATE_DIR, kept_path, new_path};
use super::report::{InstallAction, InstalledFile, UninstallAction, UninstalledFile};
use super::step::Step;
use crate::vznet_conf::external_script;

/// What becomes of one file.
enum Turn {
    /// It is as it should be.
    Nothing,
    /// It is written; first, what is there gets the name that it is kept by.
    Write { keep: bool },
}

/// The steps of an installation, and what becomes of each file. A host where a file is in the way gets none.
pub(super) fn install(
    host: &Host,
    texts: &Texts<'_>,
    has_systemd: bool,
) -> Result<(Vec<InstalledFile>, Vec<Step>), InstallError> {
    let before = host.manifest.clone().unwrap_or_else(|| Manifest::new(Vec::new(), Vec::new()));
    let umount_kept = umount_kept(host, texts);
    let mut files = Vec::new();
    let mut writes = Vec::new();
    // While files are replaced, both what was ours and what will be is; in the end only the latter.
    let (mut entries, mut final_entries) = (Vec::new(), Vec::new());
    for (path, content) in texts.files(umount_kept.as_deref(), has_systemd) {
        let seen = &host.seen[&path];
        let entry = before.entry(&path);
        let turn = turn(&path, entry, seen, &content)?;
        let kept = match entry {
            Some(entry) => entry.kept.clone(),
            None if matches!(turn, Turn::Write { keep: true }) => Some(kept_path(&path)),
            None => None,
        };
        if entry.is_some() || matches!(turn, Turn::Write { .. }) {
            let mut ours = entry.map(|entry| entry.ours.clone()).unwrap_or_default();
            ours.retain(|known| *known != content);
            ours.push(content.clone());
            entries.push(Entry { path: path.clone(), kept: kept.clone(), ours });
            final_entries.push(Entry { path: path.clone(), kept: kept.clone(), ours: vec![content.clone()] });
        }
        let action = match turn {
            Turn::Nothing => InstallAction::Unchanged,
            Turn::Write { .. } if seen.found.is_nothing() => InstallAction::Created,
            Turn::Write { .. } => InstallAction::Replaced,
        };
        if let Turn::Write { keep } = turn {
            writes.extend(write(seen, &content, keep));
        }
        let old_lines = seen.found.lines();
        let no_longer_runs = match &seen.found {
            Found::File { bytes, .. } if path == Path::new(VZNET_CONF) => external_script(bytes),
            _ => None,
        };
        let no_longer_runs = no_longer_runs.filter(|script| script != HOOK);
        files.push(InstalledFile { path, action, kept, no_longer_runs, content, old_lines });
    }
    let known = |entries: &[Entry], path: &Path| entries.iter().any(|entry| entry.path == path);
    for entry in before.files {
        // Installed when there was systemd.
        if !known(&entries, &entry.path) {
            entries.push(entry.clone());
            final_entries.push(entry);
        }
    }
    let mut directories = before.directories;
    let mut missing = host.missing.clone();
    if !host.state.is_there {
        missing.extend(host.state.missing_parents.iter().cloned());
        missing.push(host.state.place.clone());
    }
    for directory in missing.iter().map(|place| host.path_of(place)) {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    let mut steps = clean(host);
    if entries.is_empty() {
        return Ok((files, steps));
    }
    let first = Manifest::new(directories.clone(), entries);
    let last = Manifest::new(directories, final_entries);
    if writes.is_empty() {
        if host.manifest.as_ref() != Some(&last) {
            steps.extend(record(host, &last, host.state.is_there)?);
        }
        return Ok((files, steps));
    }
    if host.manifest.as_ref() != Some(&first) {
        steps.extend(record(host, &first, host.state.is_there)?);
    }
    let made = |directory: &PathBuf| !host.state.is_there && host.state.missing_parents.contains(directory);
    let missing = host.missing.iter().filter(|directory| !made(directory));
    steps.extend(missing.cloned().map(Step::MakeDirectory));
    steps.extend(writes);
    if last != first {
        steps.extend(record(host, &last, true)?);
    }
    Ok((files, steps))
}

/// What OpenVZ ran before at [`UMOUNT`], by the name that it is kept by.
fn umount_kept(host: &Host, texts: &Texts<'_>) -> Option<PathBuf> {
    let path = Path::new(UMOUNT);
    if let Some(entry) = host.manifest.as_ref().and_then(|manifest| manifest.entry(path)) {
        return entry.kept.clone();
    }
    let found = &host.seen[path].found;
    let is_strangers = !found.is_nothing() && !found.is(&texts.umount(None));
    is_strangers.then(|| kept_path(path))
}

fn turn(path: &Path, entry: Option<&Entry>, seen: &Seen, content: &Content) -> Result<Turn, InstallError> {
    let Seen { place: _, found, kept, is_new_there: _ } = seen;
    if *found == Found::Other {
        return Err(InstallError::NotAFile { path: path.to_owned() });
    }
    if found.is(content) {
        return Ok(Turn::Nothing);
    }
    let Some(entry) = entry else {
        return match (found.is_nothing(), kept.is_nothing()) {
            (true, _) => Ok(Turn::Write { keep: false }),
            (false, true) => Ok(Turn::Write { keep: true }),
            (false, false) => Err(InstallError::Taken { path: path.to_owned(), kept: kept_path(path) }),
        };
    };
    let is_ours = entry.ours.iter().any(|ours| found.is(ours));
    if found.is_nothing() || is_ours {
        return Ok(Turn::Write { keep: false });
    }
    // An installation that was cut short has recorded it, and not yet replaced it.
    match entry.kept {
        Some(_) if kept.is_nothing() => Ok(Turn::Write { keep: true }),
        Some(_) if found.is_same(kept) => Ok(Turn::Write { keep: false }),
        _ => Err(InstallError::Edited { path: path.to_owned() }),
    }
}

fn write(seen: &Seen, content: &Content, keep: bool) -> Vec<Step> {
    let Seen { place, found: _, kept: _, is_new_there: _ } = seen;
    let mut steps = vec![Step::Write { path: new_path(place), content: content.clone() }];
    if keep {
        steps.push(Step::Link { from: place.clone(), to: kept_path(place) });
    }
    steps.push(Step::Rename { from: new_path(place), to: place.clone() });
    steps
}

/// Removes what something that was cut short has left beside the files.
fn clean(host: &Host) -> Vec<Step> {
    let Host { root: _, manifest: _, seen, missing: _, state } = host;
    let mut steps: Vec<Step> = state.left.iter().cloned().map(Step::Remove).collect();
    if state.half_is_there {
        steps.push(Step::RemoveDirectory(state.half.clone()));
    }
    let left = seen.values().filter(|seen| seen.is_new_there);
    steps.extend(left.map(|seen| Step::Remove(new_path(&seen.place))));
    steps
}

/// Writes the manifest; with its directory, where that is not there.
fn record(host: &Host, manifest: &Manifest, has_directory: bool) -> Result<Vec<Step>, InstallError> {
    let content = manifest.content()?;
    let state = &host.state;
    if has_directory {
        let path = new_path(&state.manifest);
        let rename = Step::Rename { from: path.clone(), to: state.manifest.clone() };
        return Ok(vec![Step::Write { path, content }, rename]);
    }
    let mut steps: Vec<Step> = state.missing_parents.iter().cloned().map(Step::MakeDirectory).collect();
    steps.push(Step::MakeDirectory(state.half.clone()));
    steps.push(Step::Write { path: half_manifest(&state.half), content });
    steps.push(Step::Rename { from: state.half.clone(), to: state.place.clone() });
    Ok(steps)
}

/// The steps that undo an installation, whole or cut short, and what becomes of each file.
pub(super) fn uninstall(host: &Host) -> Result<(Vec<UninstalledFile>, Vec<Step>), InstallError> {
    let mut steps = clean(host);
    let mut files = Vec::new();
    let Some(manifest) = &host.manifest else { return Ok((files, steps)) };
    let mut left = Vec::new();
    for entry in manifest.files.iter().rev() {
        let seen = &host.seen[&entry.path];
        let (action, step) = undo(entry, seen);
        steps.extend(step);
        let kept = entry.kept.clone().filter(|_| !action.is_undone());
        if !action.is_undone() {
            left.insert(0, entry.clone());
        }
        files.push(UninstalledFile { path: entry.path.clone(), action, kept });
    }
    let state_dir = Path::new(STATE_DIR);
    let (of_state, others): (Vec<_>, Vec<_>) =
        manifest.directories.iter().partition(|directory| state_dir.starts_with(directory));
    let place = |directory: &Path| host.root.join(directory.strip_prefix("/").unwrap_or(directory));
    let remove = |directory: &&PathBuf| Step::RemoveDirectory(place(directory));
    steps.extend(others.iter().rev().map(remove));
    if !left.is_empty() {
        let still = |directory: &PathBuf| {
            let is_above = |entry: &Entry| host.seen[&entry.path].place.starts_with(place(directory));
            state_dir.starts_with(directory) || left.iter().any(is_above)
        };
        let directories = manifest.directories.iter().filter(|directory| still(directory)).cloned().collect();
        let rest = Manifest::new(directories, left);
        if rest != *manifest {
            steps.extend(record(host, &rest, true)?);
        }
        return Ok((files, steps));
    }
    let state = &host.state;
    if state.is_alone && of_state.iter().any(|directory| *directory == state_dir) {
        steps.push(Step::Rename { from: state.place.clone(), to: state.half.clone() });
        steps.push(Step::Remove(half_manifest(&state.half)));
        steps.push(Step::RemoveDirectory(state.half.clone()));
        let parents = of_state.iter().rev().filter(|directory| **directory != state_dir);
        steps.extend(parents.map(remove));
    } else {
        steps.push(Step::Remove(state.manifest.clone()));
    }
    Ok((files, steps))
}

fn undo(entry: &Entry, seen: &Seen) -> (UninstallAction, Option<Step>) {
    let Entry { path: _, kept: was, ours } = entry;
    let Seen { place, found, kept, is_new_there: _ } = seen;
    let is_ours = ours.iter().any(|ours| found.is(ours));
    let kept_place = kept_path(place);
    match (was.is_some(), kept.is_nothing()) {
        (false, _) if found.is_nothing() => (UninstallAction::AsBefore, None),
        (false, _) if is_ours => (UninstallAction::Removed, Some(Step::Remove(place.clone()))),
        (true, true) if is_ours || found.is_nothing() => (UninstallAction::BackupGone, None),
        (true, true) => (UninstallAction::AsBefore, None),
        // rename(2) does nothing where both are one file.
        (true, false) if found.is_same(kept) => (UninstallAction::AsBefore, Some(Step::Remove(kept_place))),
        (true, false) if is_ours || found.is_nothing() => {
            (UninstallAction::Restored, Some(Step::Rename { from: kept_place, to: place.clone() }))
        }
        (false, _) | (true, false) => (UninstallAction::Edited, None),
    }
}

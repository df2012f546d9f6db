//! A layer over SQLite's own access to files: what is written, cut, synced and removed in one folder is recorded, and fails when
//! told to. Everything else, locks and shared memory among it, is SQLite's own.
//!
//! The layer is C's business, and unsafe as such: it hands SQLite's own methods through, but for four of them.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char, c_int, c_void},
    io,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

use rusqlite::ffi;

/// Something that was done to a file, by its name in the folder.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(String, usize, Vec<u8>),
    Truncate(String, usize),
    Sync(String),
    Remove(String),
    Create(String),
    Rename(String, String),
    SyncFolder,
}

/// What the system says to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No space is left; what needs none works.
    Full,
    /// An input or output error.
    Broken,
}

impl Refusal {
    fn code(self, step: &Step) -> Option<c_int> {
        match (self, step) {
            (Self::Full, Step::Write(..) | Step::Create(_)) => Some(ffi::SQLITE_FULL),
            (Self::Full, _) => None,
            (Self::Broken, Step::Write(..)) => Some(ffi::SQLITE_IOERR_WRITE),
            (Self::Broken, Step::Truncate(..)) => Some(ffi::SQLITE_IOERR_TRUNCATE),
            (Self::Broken, Step::Sync(_)) => Some(ffi::SQLITE_IOERR_FSYNC),
            (Self::Broken, Step::Remove(_)) => Some(ffi::SQLITE_IOERR_DELETE),
            (Self::Broken, Step::Create(_) | Step::Rename(..) | Step::SyncFolder) => {
                Some(ffi::SQLITE_IOERR)
            }
        }
    }
}

#[derive(Debug)]
struct Recorder {
    folder: PathBuf,
    steps: Vec<Step>,
    /// The step that is refused, and whether it has been.
    refusal: Option<(usize, Refusal)>,
    has_refused: bool,
}

/// One recording at a time in a process.
static TURN: Mutex<()> = Mutex::new(());
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
/// Open files, by the addresses SQLite knows them by.
static OPEN: Mutex<BTreeMap<usize, OpenFile>> = Mutex::new(BTreeMap::new());
static BASE: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());
/// The layer over each set of methods files may have, by its address.
static LAYERS: Mutex<BTreeMap<usize, &'static Methods>> = Mutex::new(BTreeMap::new());

struct Methods {
    base: ffi::sqlite3_io_methods,
    layer: ffi::sqlite3_io_methods,
}

#[derive(Clone)]
struct OpenFile {
    path: PathBuf,
    methods: &'static Methods,
}

/// Runs something and returns what it did to the files in `folder`.
pub(super) fn record<T>(folder: &Path, run: impl FnOnce() -> T) -> (Vec<Step>, T) {
    let (recorder, value) = observe(folder, None, run);
    (recorder.steps, value)
}

/// Runs something while the step of this number is refused; the answer says whether it came to that.
pub(super) fn refuse<T>(
    folder: &Path,
    step: usize,
    refusal: Refusal,
    run: impl FnOnce() -> T,
) -> (bool, T) {
    let (recorder, value) = observe(folder, Some((step, refusal)), run);
    (recorder.has_refused, value)
}

fn observe<T>(
    folder: &Path,
    refusal: Option<(usize, Refusal)>,
    run: impl FnOnce() -> T,
) -> (Recorder, T) {
    let _turn = lock(&TURN);
    *lock(&RECORDER) = Some(Recorder {
        folder: folder.to_owned(),
        steps: Vec::new(),
        refusal,
        has_refused: false,
    });
    let value = run();
    let recorder = lock(&RECORDER).take();
    (recorder.expect("nobody else takes it"), value)
}

/// Puts the layer between SQLite and the files of every catalogue that is opened from now on.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: SQLite's default access to files lives as long as the process. The layer's is a copy of it with two methods
        // replaced, is never freed, and has a static name.
        unsafe {
            let base = ffi::sqlite3_vfs_find(ptr::null());
            let mut layer = Box::new(*base);
            layer.zName = c"recording".as_ptr();
            layer.pNext = ptr::null_mut();
            layer.xOpen = Some(open);
            layer.xDelete = Some(delete);
            BASE.store(base, Ordering::Release);
            assert_eq!(
                ffi::sqlite3_vfs_register(Box::into_raw(layer), 1),
                ffi::SQLITE_OK
            );
        }
    });
}

/// Records a step that something else than SQLite does to a file, or says why it is refused.
pub(super) fn note(path: &Path, done: impl FnOnce(String) -> Step) -> io::Result<()> {
    step(path, done).map_err(|code| match code {
        ffi::SQLITE_FULL => io::ErrorKind::StorageFull.into(),
        _ => io::Error::other("refused"),
    })
}

/// Records a step, or says with which code it is refused.
fn step(path: &Path, step: impl FnOnce(String) -> Step) -> Result<(), c_int> {
    let mut recorder = lock(&RECORDER);
    let Some(recorder) = recorder.as_mut() else {
        return Ok(());
    };
    if path.parent() != Some(&recorder.folder) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default();
    let step = step(name.to_string_lossy().into_owned());
    let is_turn = recorder
        .refusal
        .filter(|(number, _)| *number == recorder.steps.len());
    let code = is_turn.and_then(|(_, refusal)| refusal.code(&step));
    // The number counts on, so that every later step works.
    recorder.steps.push(step);
    match code {
        Some(code) => {
            recorder.has_refused = true;
            Err(code)
        }
        None => Ok(()),
    }
}

fn opened(file: *mut ffi::sqlite3_file) -> OpenFile {
    lock(&OPEN)[&file.addr()].clone()
}

/// The layer over these methods; there are a handful in a process, which are never freed.
fn layer_over(base: ffi::sqlite3_io_methods, address: usize) -> &'static Methods {
    let make = || {
        let layer = ffi::sqlite3_io_methods {
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xSync: Some(sync),
            ..base
        };
        &*Box::leak(Box::new(Methods { base, layer }))
    };
    lock(&LAYERS).entry(address).or_insert_with(make)
}

fn text(name: *const c_char) -> PathBuf {
    if name.is_null() {
        return PathBuf::new();
    }
    // SAFETY: SQLite's names end with a NUL and live for the call.
    let name = unsafe { CStr::from_ptr(name) };
    PathBuf::from(name.to_string_lossy().into_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let base = BASE.load(Ordering::Acquire);
    // SAFETY: the arguments are SQLite's own, passed on to whom they are meant for. A file that was opened has methods, and
    // they and the layer's are static.
    unsafe {
        let code = (*base).xOpen.expect("it opens files")(base, name, file, flags, out_flags);
        if code == ffi::SQLITE_OK && !(*file).pMethods.is_null() {
            let methods = layer_over(*(*file).pMethods, (*file).pMethods.addr());
            (*file).pMethods = &raw const methods.layer;
            let path = text(name);
            lock(&OPEN).insert(file.addr(), OpenFile { path, methods });
        }
        code
    }
}

unsafe extern "C" fn delete(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    if let Err(code) = step(&text(name), Step::Remove) {
        return code;
    }
    let base = BASE.load(Ordering::Acquire);
    // SAFETY: as for `open`.
    unsafe { (*base).xDelete.expect("it removes files")(base, name, sync_folder) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let length = usize::try_from(count).expect("a count is never negative");
    let at = usize::try_from(offset).expect("an offset is never negative");
    // SAFETY: SQLite says how many bytes there are.
    let written = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
    let open = opened(file);
    let refused = step(&open.path, |name| Step::Write(name, at, written.to_vec()));
    if let Err(code) = refused {
        return code;
    }
    // SAFETY: the file was opened by the base, whose method this is.
    unsafe { open.methods.base.xWrite.expect("it writes")(file, bytes, count, offset) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let length = usize::try_from(size).expect("a size is never negative");
    let open = opened(file);
    if let Err(code) = step(&open.path, |name| Step::Truncate(name, length)) {
        return code;
    }
    // SAFETY: the file was opened by the base, whose method this is.
    unsafe { open.methods.base.xTruncate.expect("it cuts")(file, size) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let open = opened(file);
    if let Err(code) = step(&open.path, Step::Sync) {
        return code;
    }
    // SAFETY: the file was opened by the base, whose method this is.
    unsafe { open.methods.base.xSync.expect("it syncs")(file, flags) }
}

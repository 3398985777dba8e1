// Uploads files to Python, one after the other and in parts.

const MAX_ERRORS = 3; // how many of the files that could not be attached are named
const IMAGE_NAMES = /\.(avif|bmp|gif|heic|heif|jfif|jpe?g|png|tiff?|webp)$/i; // browsers do not know the type of every file

// Returns functions. `request` sends a message and resolves to Python's reply; `onChange` is called as the uploads
// progress, and `onEnd` at their end with a text that says which files were not attached, and why.
function fileUploads({ config, request, post, nextId, onChange, onEnd }) {
  let queue = [];
  let remarks = [];
  let count = 0;
  let current = 0;
  let isCanceled = false;

  const upload = async ({ file, name }) => {
    if (file.size > config.max_file_bytes) {
      return `${name} is larger than ${config.max_file_bytes / 1e6} MB: reduce its size first.`;
    }
    const uploadId = nextId();
    try {
      for (let start = 0, isLast = false; !isLast; start += config.chunk_bytes) {
        const part = await file.slice(start, start + config.chunk_bytes).arrayBuffer();
        if (isCanceled) throw new DOMException("canceled", "AbortError");
        isLast = start + config.chunk_bytes >= file.size;
        const { rejection } = await request({ do: "upload", upload_id: uploadId, name, start, last: isLast }, [part]);
        if (rejection) return rejection;
      }
      return "";
    } catch {
      post({ do: "cancel_upload", upload_id: uploadId });
      return isCanceled ? "" : `${name} could not be read completely: attach it again.`;
    }
  };
  // Uploads files, each given as { file, name }, after those that are being uploaded. The remark is shown at the end.
  const add = async (files, remark = "") => {
    const isRunning = count > 0;
    queue.push(...files);
    count += files.length;
    if (remark) remarks.push(remark);
    onChange();
    if (isRunning) return;
    const errors = [];
    isCanceled = false;
    while (queue.length) {
      current += 1;
      onChange();
      const error = await upload(queue.shift());
      if (error) errors.push(error);
    }
    const text = [listed(errors, count), ...remarks].filter(Boolean).join("\n");
    count = current = 0;
    remarks = [];
    onEnd(text);
  };
  const cancel = () => {
    isCanceled = true;
    count -= queue.length;
    queue = [];
  };
  const listed = (errors, total) => {
    if (errors.length < 2) return errors.join("");
    const others = errors.length - MAX_ERRORS;
    const more = others > 0 ? [`${others} more`] : [];
    return [`${errors.length} of ${total} files were not attached:`, ...errors.slice(0, MAX_ERRORS), ...more].join("\n");
  };
  return {
    add,
    cancel,
    isRunning: () => count > 0,
    progress: () => (count > 1 ? `Uploading image ${current} of ${count}\u2026` : count ? "Uploading an image\u2026" : ""),
  };
}

// Returns the files of a drop, with the images in dropped folders, and a remark about other files in the folders.
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  const folders = new Set(entries.map((entry) => entry.name)); // browsers list folders as files too, without a type
  const files = [...transfer.files].filter((file) => file.type || !folders.has(file.name));
  const skipped = [];
  const inFolders = [];
  for (const entry of entries) {
    for (const file of await filesOfFolder(entry)) {
      if (file.type.startsWith("image/") || IMAGE_NAMES.test(file.name)) inFolders.push(file);
      else if (!file.name.startsWith(".")) skipped.push(file.name);
    }
  }
  files.push(...inFolders);
  let remark = "";
  if (entries.length && !inFolders.length) remark = `The folder ${entries[0].name} has no images.`;
  else if (skipped.length === 1) remark = `Skipped ${skipped[0]}, which is not an image.`;
  else if (skipped.length) remark = `Skipped ${skipped.length} files that are not images, such as ${skipped[0]}.`;
  return { files, remark };
}

async function filesOfFolder(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (let some = null; some === null || some.length; entries.push(...some)) {
    some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([]))); // at most 100 at a time
  }
  entries.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
  const files = [];
  for (const entry of entries) {
    if (entry.isDirectory) files.push(...(await filesOfFolder(entry)));
    else files.push(await new Promise((resolve) => entry.file(resolve, () => resolve(new File([], entry.name)))));
  }
  return files;
}

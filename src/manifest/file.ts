/** The file itself; apart from what reads it, so that knowing its name costs nothing. */
export const MANIFEST_FILE = 'hostel.yaml'

/** Bytes of a file that is read. */
export const MANIFEST_MAX_BYTES = 1024 * 1024

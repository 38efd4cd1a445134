/** What the command is called here: `hostel` where it is linked, `bin/hostel` in a checkout, as bin/hostel found itself called. */

const given = process.env['HOSTEL_COMMAND'] ?? ''
// What is started from here is not called like this.
delete process.env['HOSTEL_COMMAND']

/** For hints, so that they can be copied. */
export const called = /^[\w./@+-]+$/.test(given) ? given : 'hostel'

/** A text with the commands in it (in backticks, or behind a prompt) as they are called here. */
export function asCalled(text: string): string {
  return called === 'hostel' ? text : text.replace(/(?<=`|\$ |&& |sudo )hostel (?=[a-zA-Z-])/g, `${called} `)
}

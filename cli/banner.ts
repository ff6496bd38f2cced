/** Banners: rules of `=` and `-` are for a terminal, not for a log file or a journal. */

const RULE = /^[=-]+$/;

/** Whether a line of a banner is shown. */
export function isShown(line: string, terminal: boolean): boolean {
  return terminal || !RULE.test(line);
}

/** A printer that leaves out rules where there is no terminal. */
export function bannerPrinter(
  print: (line: string) => void,
  terminal: boolean,
): (line: string) => void {
  return (line) => {
    if (isShown(line, terminal)) print(line);
  };
}

/**
 * Raw mode and speed of a terminal device, termios(3). A device keeps them as
 * long as anybody has it open, so a descriptor of our own sets them beside the
 * file that is read.
 */
import { OperationError } from "../../../errors.ts";
import { findLibc } from "./libc.ts";

/** fcntl.h: O_RDWR, O_NOCTTY and O_NONBLOCK, which does not wait for a carrier. */
const OPEN_FLAGS = 0o2 | 0o400 | 0o4000;

/** termios.h: change now. */
const TCSANOW = 0;

/** termios.h: c_cflag is the third word; CREAD receives, CLOCAL ignores modem lines. */
const CFLAG_WORD = 2;
const CREAD = 0o200;
const CLOCAL = 0o4000;

/** More than sizeof(struct termios), 60 bytes in glibc and musl. */
const TERMIOS_BYTES = 128;

/** bits/termios-baud.h: constants of the speeds on x86 and ARM. */
const SPEEDS: Readonly<Record<number, number>> = {
  300: 0o7,
  600: 0o10,
  1200: 0o11,
  2400: 0o13,
  4800: 0o14,
  9600: 0o15,
  19200: 0o16,
  38400: 0o17,
  57600: 0o10001,
  115200: 0o10002,
  230400: 0o10003,
  460800: 0o10004,
  500000: 0o10005,
  576000: 0o10006,
  921600: 0o10007,
  1000000: 0o10010,
  1152000: 0o10011,
  1500000: 0o10012,
  2000000: 0o10013,
  3000000: 0o10015,
  4000000: 0o10017,
};

/** Speeds that a device can be set to. */
export const BAUD_RATES: readonly number[] = Object.keys(SPEEDS).map(Number);

const SYMBOLS = {
  // int open(const char *pathname, int flags)
  open: { parameters: ["buffer", "i32"], result: "i32" },
  // int close(int fd)
  close: { parameters: ["i32"], result: "i32" },
  // int tcgetattr(int fd, struct termios *termios_p)
  tcgetattr: { parameters: ["i32", "buffer"], result: "i32" },
  // int tcsetattr(int fd, int optional_actions, const struct termios *termios_p)
  tcsetattr: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  // void cfmakeraw(struct termios *termios_p)
  cfmakeraw: { parameters: ["buffer"], result: "void" },
  // int cfsetspeed(struct termios *termios_p, speed_t speed)
  cfsetspeed: { parameters: ["buffer", "u32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Sets a terminal to raw mode and, where one is given, to a speed. Throws an OperationError. */
export function setRawMode(path: string, baud: number | undefined): void {
  const name = findLibc();
  const failed = (what: string) =>
    new OperationError(`cannot set up "${path}": ${what}`);
  if (name === undefined) throw failed("no libc was found");
  const library = Deno.dlopen(name, SYMBOLS);
  try {
    const { symbols } = library;
    const fd = symbols.open(
      new TextEncoder().encode(`${path}\0`),
      OPEN_FLAGS,
    );
    if (fd < 0) throw failed("it cannot be opened for writing");
    try {
      const termios = new Uint32Array(TERMIOS_BYTES / 4);
      if (symbols.tcgetattr(fd, termios) < 0) throw failed("no terminal");
      symbols.cfmakeraw(termios);
      termios[CFLAG_WORD]! |= CREAD | CLOCAL;
      if (
        baud !== undefined &&
        symbols.cfsetspeed(termios, SPEEDS[baud] ?? -1) < 0
      ) throw failed(`the speed ${baud} is not supported`);
      if (symbols.tcsetattr(fd, TCSANOW, termios) < 0) {
        throw failed("the device refuses the settings");
      }
    } finally {
      symbols.close(fd);
    }
  } finally {
    library.close();
  }
}

// Loaded into each test file's process: one that hangs says so and fails, rather than hold up the whole run.
const BOUND_MINUTES = 12;

// The process that only runs the others has none.
if (!process.execArgv.includes("--test")) {
  setTimeout(() => {
    const open = process.getActiveResourcesInfo().filter((name) => name !== "Timeout");
    console.error(`${process.argv[1]}: not done after ${BOUND_MINUTES} minutes; still open: ${open.join(", ")}`);
    process.exit(1);
  }, BOUND_MINUTES * 60_000).unref();
}

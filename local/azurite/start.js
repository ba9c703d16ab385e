// Starts Azurite and ends it when standard input closes. The process that started us holds the other end of that pipe, so
// Azurite never outlives it, not even after a SIGKILL. Ending by SIGTERM's own handler makes Azurite save what it holds.
process.stdin.resume();
process.stdin.once("end", () => process.kill(process.pid, "SIGTERM"));
require("azurite/dist/src/azurite.js");

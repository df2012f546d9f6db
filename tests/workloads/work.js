// A timer that counts, an array that is summed all the time, a server that says how it goes.
const token = require("crypto").randomBytes(8).toString("hex");
const data = Array.from({ length: 500000 }, (_, index) => index);
const sum = () => data.reduce((left, right) => left + right, 0);
const whole = sum();
let ticks = 0;
setInterval(() => { ticks += 1; }, 5);
require("http").createServer((_, answer) => {
  answer.end(`${token} ${sum() === whole} ${ticks}`);
}).listen(8000, "127.0.0.1");

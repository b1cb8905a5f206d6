/*
 * commands.js: a test's conversation with a client: a line in on stdin, a line of JSON out on stdout.
 * The end of stdin is the end of the client, so that none outlives its test.
 */
import readline from "node:readline";

/* handlers: {word: async (argument) => answer}. Returns when stdin ends. */
export async function serveCommands(handlers) {
    process.stdout.write('"ready"\n');
    for await (const line of readline.createInterface({input: process.stdin})) {
        const [word, ...rest] = line.split(" ");
        process.stdout.write(JSON.stringify(await handlers[word](rest.join(" "))) + "\n");
    }
}

/*
 * eventsource.js: a Node service that follows a sale with npm's `eventsource`.
 *
 *     node eventsource.js '{"base":"http://127.0.0.1:8080","sale":"…","user":"ann","token":"…"}'
 *
 * Commands: `state` (see commands.js).
 */
import {EventSource} from "eventsource";
import {serveCommands} from "./commands.js";
import "./follower.js";

const state = globalThis.followSale({EventSource, ...JSON.parse(process.argv[2])}, () => {});
await serveCommands({state: async () => state});
state.close();

/*
 * browser.js: a page in Chromium that follows a sale with the browser's own EventSource.
 *
 *     node browser.js '{"base":"http://127.0.0.1:8080","sale":"…","user":"ann","token":"…"}'
 *
 * The page has the server's origin, as behind any proxy that serves both, and the token as a cookie.
 * Commands: `state`; `text`: what the page shows; `screenshot FILE` (see commands.js).
 */
import {readFile} from "node:fs/promises";
import {chromium} from "playwright-core";
import {serveCommands} from "./commands.js";

const {token, ...options} = JSON.parse(process.argv[2]);
const here = (name) => new URL(name, import.meta.url).pathname;
// --no-sandbox: Chromium's own sandbox does not run as root; the page is ours.
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
try {
    const context = await browser.newContext({viewport: {width: 800, height: 640}});
    await context.addCookies([{name: "flashd_token", value: token, url: options.base}]);
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(options.base + "/health/live");
    await page.setContent(await readFile(here("page.html"), "utf8"));
    await page.addScriptTag({path: here("follower.js")});
    await page.evaluate((given) => follow({...given, token: null}), options);
    await serveCommands({
        state: async () => ({...await page.evaluate(() => ({...window.state, close: null})), errors}),
        text: async (id) => page.locator("#" + id).evaluate((element) => element.textContent),
        screenshot: async (path) => { await page.screenshot({path}); return path; },
    });
} finally {
    await browser.close();
}

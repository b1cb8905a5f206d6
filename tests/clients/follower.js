/*
 * follower.js: follows one sale, one buyer and every domain event, as a shop's page and a service would.
 *
 * The same text runs in a browser's page, with the browser's own EventSource, and in Node, with npm's
 * `eventsource`. It never reconnects by itself and never sets Last-Event-ID: that is the client's part,
 * and what the tests are about.
 *
 * In:  {EventSource, base, sale, user, token}; token null: a cookie carries it. changed(): after each event.
 * Out: a state to look at: what a buyer is shown, and everything that came, in order.
 */
"use strict";

globalThis.followSale = function ({EventSource, base, sale, user, token}, changed) {
    const orderEvents = ["reserved", "queued", "promoted", "paid", "expired", "cancelled", "cleared", "refund_due"]
        .map((name) => "order." + name);
    const saleEvents = ["created", "started", "paused", "resumed", "ended", "sold_out"].map((name) => "sale." + name);
    const state = {
        shown: null, // what the page shows of the sale
        buyers: [],  // names as the public stream gave them
        events: [],  // [id, type, data] of every domain event
        notices: [], // the same of the user's own
        resets: [],
        opened: {sale: 0, events: 0, user: 0},
        lost: {sale: 0, events: 0, user: 0},
    };

    function listen(name, path, handlers) {
        const query = token === null ? "" : (path.includes("?") ? "&" : "?") + "token=" + encodeURIComponent(token);
        const source = new EventSource(base + path + query);
        source.addEventListener("open", () => { state.opened[name]++; changed(state); });
        source.addEventListener("error", () => { state.lost[name]++; changed(state); });
        source.addEventListener("reset", (event) => state.resets.push([name, event.lastEventId]));
        for (const [type, handle] of Object.entries(handlers))
            source.addEventListener(type, (event) => { handle(event); changed(state); });
        return source;
    }

    function keepIn(list) {
        return (event) => list.push([event.lastEventId, event.type, event.data]);
    }
    const all = (names, handle) => Object.fromEntries(names.map((name) => [name, handle]));

    function update(event) {
        const told = JSON.parse(event.data);
        Object.assign(state.shown, {remainingQty: told.remainingQty, available: told.available,
            sold: state.shown.productQty - told.remainingQty, id: event.lastEventId});
        if (told.buyerName !== undefined)
            state.buyers.push(told.buyerName);
    }

    function snapshot(event) {
        const {name, state: phase, productQty, remainingQty, available} = JSON.parse(event.data).sales[0];
        state.shown = {name, phase, productQty, remainingQty, available, sold: productQty - remainingQty,
            id: event.lastEventId};
    }

    const phases = {start: "ACTIVE", resume: "ACTIVE", pause: "PAUSED", end: "ENDED"};
    const sources = [
        listen("sale", "/api/v1/sales/events?saleId=" + sale, {
            snapshot,
            sale_update: update,
            sale_event: (event) => { state.shown.phase = phases[JSON.parse(event.data).event]; },
        }),
        listen("events", "/api/v1/events/stream", all(saleEvents.concat(orderEvents), keepIn(state.events))),
        listen("user", `/api/v1/users/${encodeURIComponent(user)}/notifications/stream`,
            {snapshot: keepIn(state.notices), ...all(orderEvents, keepIn(state.notices))}),
    ];
    state.close = () => sources.forEach((source) => source.close());
    return state;
};

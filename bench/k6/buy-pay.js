// A flash sale for k6: buyers arrive at a rate, buy, think, and pay.
//
//   k6 run [-e NAME=VALUE ...] bench/k6/buy-pay.js
//
//   URL       http://127.0.0.1:8080   the server
//   SALE      none                    the sale's id; without it, the server's only active sale
//   RATE      200                     buyers a second, whatever the server does
//   DURATION  30s                     for how long they come
//   BUYERS    200                     how many may be in the shop at once; k6 counts those who found no room as dropped
//   THINK_MS  0                       between buying and paying, on average
//   P99_MS    100                     what 99 of 100 purchases and payments must stay below
//
// Every buyer is new. Each answer is one of: a hold, which is then paid through /pay (the stand-in for a payment
// provider); a place in the waiting list; sold-out. Anything else, an answer that misses a field, or a buyer whom k6
// had to drop fails the run.
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

const url = (__ENV.URL || 'http://127.0.0.1:8080') + '/api/v1';
const saleId = __ENV.SALE || undefined;
const buyers = Number(__ENV.BUYERS || 200);
const thinkMs = Number(__ENV.THINK_MS || 0);
const p99Ms = Number(__ENV.P99_MS || 100);

const held = new Counter('orders_held');
const paid = new Counter('orders_paid');
const waiting = new Counter('orders_waiting');
const soldOut = new Counter('orders_sold_out');

http.setResponseCallback(http.expectedStatuses(200, 201, 400)); // 400: sold out is an answer, not a failure

/** @type {import('k6/options').Options} */
export const options = {
    scenarios: {
        rush: {
            executor: 'constant-arrival-rate',
            rate: Number(__ENV.RATE || 200),
            timeUnit: '1s',
            duration: __ENV.DURATION || '30s',
            preAllocatedVUs: buyers,
            maxVUs: buyers,
        },
    },
    thresholds: {
        checks: ['rate==1'],
        http_req_failed: ['rate==0'],
        dropped_iterations: ['count==0'],
        'http_req_duration{step:buy}': [`p(99)<${p99Ms}`],
        'http_req_duration{step:pay}': [`p(99)<${p99Ms}`],
    },
    summaryTrendStats: ['min', 'med', 'p(90)', 'p(99)', 'max'],
};

/** What tells the buyers of this run from those of another. */
export function setup() {
    const ready = http.get(`${url.slice(0, -'/api/v1'.length)}/health/ready`);
    if (ready.status !== 200) exec.test.abort(`${url} is not ready: ${ready.status}`);
    return { run: Date.now().toString(36) };
}

/**
 * @param {'buy' | 'pay'} step
 * @param {object} body
 */
function post(step, body) {
    return http.post(`${url}/${step}`, JSON.stringify(body), {
        headers: { 'Content-Type': 'application/json' },
        tags: { step, name: step },
    });
}

/**
 * @param {{ run: string }} data
 */
export default function buyAndPay(data) {
    const buyerName = `k6-${data.run}-${exec.scenario.iterationInTest}`;
    const bought = post('buy', { saleId, buyerName });
    if (bought.status !== 201) {
        check(bought, { 'refused only as sold out': (r) => r.status === 400 && r.json('code') === 'sold-out' });
        soldOut.add(1);
        return;
    }
    const complete = check(bought, {
        'the order is the buyer\'s': (r) => r.json('buyerName') === buyerName,
        'it has an id': (r) => /^[0-9a-f]{24}$/.test(String(r.json('transactionId'))),
        'it is held or waits': (r) => ['payment', 'waiting'].includes(String(r.json('state'))),
    });
    if (!complete) return;
    if (bought.json('state') === 'waiting') {
        check(bought, { 'it has a place': (r) => Number(r.json('position')) > 0 });
        waiting.add(1);
        return;
    }
    held.add(1);
    if (thinkMs > 0) sleep(Math.random() * 2 * thinkMs / 1000);
    const done = post('pay', { transactionId: bought.json('transactionId') });
    if (check(done, { 'it is paid': (r) => r.status === 200 && r.json('success') === true })) paid.add(1);
}

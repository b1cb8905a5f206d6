// What the Fastify and the NestJS peer share: the purchase in Redis, the start, and what they say.
//
//   node fastify.js SOCKET [PROCESSES]     SOCKET: Redis's; serves on a free loopback port, with one or more processes
//
// Prints "listening on http://127.0.0.1:PORT" once it serves. Each process has one connection to Redis; ioredis sends
// all purchases of a turn of the event loop as one pipeline, and Redis syncs its file once for all of those.
'use strict';
const cluster = require('node:cluster');
const fs = require('node:fs');
const path = require('node:path');
const Redis = require('ioredis');

const CONTROL = /[\u0000-\u001f\u007f]/;

class Refusal extends Error {
    constructor(code, status = 400) {
        super(code);
        this.status = status;
        this.problem = { type: `urn:peer:problem:${code}`, title: 'Bad Request', status, detail: code, code };
    }
}

class Shop {
    constructor(socket) {
        this.redis = new Redis(socket, { enableAutoPipelining: true });
        this.redis.defineCommand('buyInRedis', {
            numberOfKeys: 3,
            lua: fs.readFileSync(path.join(__dirname, 'buy.lua'), 'utf8'),
        });
    }

    // Resolves once the order is in Redis's synced file; rejects with a Refusal.
    async buy({ saleId, buyerName, quantity = 1 }) {
        let answer;
        try {
            answer = await this.redis.buyInRedis(`sale:${saleId}`, `buyers:${saleId}`, `waiting:${saleId}`, buyerName,
                quantity);
        } catch (error) {
            if (!error.message.startsWith('REFUSED ')) throw error;
            const code = error.message.slice('REFUSED '.length);
            throw new Refusal(code, code === 'not-found' ? 404 : 400);
        }
        const [state, transactionId, seq, at] = answer.split(' ');
        const order = { transactionId, saleId, buyerName, quantity, state, seq: Number(seq) };
        if (state === 'payment') order.expiresAt = new Date(Number(at)).toISOString();
        else order.position = Number(at);
        return order;
    }
}

// For the peer that has no schemas.
function checkOrder(body) {
    const { saleId, buyerName, quantity = 1 } = body ?? {};
    if (typeof saleId !== 'string' || typeof buyerName !== 'string' || buyerName.length < 1 || buyerName.length > 64 ||
        CONTROL.test(buyerName) || !Number.isInteger(quantity) || quantity < 1) throw new Refusal('invalid-request');
    return body;
}

// serve(shop, port) begins to serve and resolves to the port; one process serves by itself, several as a cluster.
async function start(serve) {
    const [socket, processes = '1'] = process.argv.slice(2);
    const tell = (port) => console.log(`listening on http://127.0.0.1:${port}`);
    if (processes === '1' || cluster.isWorker) {
        const port = await serve(new Shop(socket), 0);
        if (cluster.isPrimary) tell(port);
        return;
    }
    let missing = Number(processes);
    for (let n = 0; n < Number(processes); n++) cluster.fork();
    cluster.on('listening', (_, { port }) => { if (--missing === 0) tell(port); });
    process.on('SIGTERM', () => process.exit());
}

module.exports = { CONTROL, Refusal, checkOrder, start };

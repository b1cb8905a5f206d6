// The usual flash-sale stack at its best: Fastify, checked and serialised by compiled schemas, before Redis.
// Arguments and start: shop.js.
'use strict';
const fastify = require('fastify');
const { CONTROL, Refusal, start } = require('./shop.js');

const schema = {
    body: {
        type: 'object',
        required: ['saleId', 'buyerName'],
        properties: {
            saleId: { type: 'string', maxLength: 64 },
            buyerName: { type: 'string', minLength: 1, maxLength: 64, pattern: `^(?!.*${CONTROL.source})` },
            quantity: { type: 'integer', minimum: 1 },
        },
    },
    response: {
        201: {
            type: 'object',
            properties: {
                transactionId: { type: 'string' },
                saleId: { type: 'string' },
                buyerName: { type: 'string' },
                quantity: { type: 'integer' },
                state: { type: 'string' },
                expiresAt: { type: 'string' },
                position: { type: 'integer' },
                seq: { type: 'integer' },
            },
        },
    },
};

start(async (shop, port) => {
    const server = fastify({ logger: false });
    server.post('/buy', { schema }, async (request, reply) => {
        reply.code(201);
        return shop.buy(request.body);
    });
    server.setErrorHandler((error, request, reply) => {
        const refusal = error.validation ? new Refusal('invalid-request') : error;
        if (!(refusal instanceof Refusal)) return reply.send(error);
        return reply.code(refusal.status).type('application/problem+json').send(JSON.stringify(refusal.problem));
    });
    await server.listen({ host: '127.0.0.1', port });
    return server.server.address().port;
});

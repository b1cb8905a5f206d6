// The same shop in NestJS, on its Fastify adapter. Its decorators are called as functions, which is what a compiler
// makes of them: no build step. Arguments and start: shop.js.
'use strict';
require('reflect-metadata');
const { Body, Catch, Controller, HttpCode, Module, Post } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { FastifyAdapter } = require('@nestjs/platform-fastify');
const { Refusal, checkOrder, start } = require('./shop.js');

function controllerOf(shop) {
    class BuyController {
        buy(body) {
            return shop.buy(checkOrder(body));
        }
    }
    const method = Object.getOwnPropertyDescriptor(BuyController.prototype, 'buy');
    Controller()(BuyController);
    Post('buy')(BuyController.prototype, 'buy', method);
    HttpCode(201)(BuyController.prototype, 'buy', method);
    Body()(BuyController.prototype, 'buy', 0);
    return BuyController;
}

class RefusalFilter {
    catch(refusal, host) {
        host.switchToHttp().getResponse().code(refusal.status).type('application/problem+json')
            .send(JSON.stringify(refusal.problem));
    }
}
Catch(Refusal)(RefusalFilter);

start(async (shop, port) => {
    class ShopModule {}
    Module({ controllers: [controllerOf(shop)] })(ShopModule);
    const server = await NestFactory.create(ShopModule, new FastifyAdapter({ logger: false }), { logger: false });
    server.useGlobalFilters(new RefusalFilter());
    await server.listen(port, '127.0.0.1');
    return server.getHttpServer().address().port;
});

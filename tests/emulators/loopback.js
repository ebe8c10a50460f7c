// Loaded before a server that offers no setting for its address: whatever it listens on becomes 127.0.0.1, so that a
// test server is never reachable from outside this machine.
'use strict';
const net = require('node:net');

const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...args) {
  const [first] = args;
  const named = first !== null && typeof first === 'object';
  // Sockets of the file system and handles from elsewhere are local already.
  if (named && first.port === undefined) return listen.apply(this, args);
  if (typeof first === 'string' && Number.isNaN(Number(first))) return listen.apply(this, args);
  const callback = args.find((argument) => typeof argument === 'function');
  const options = named ? { ...first, host: '127.0.0.1' } : { port: Number(first) || 0, host: '127.0.0.1' };
  return callback ? listen.call(this, options, callback) : listen.call(this, options);
};

// llama.cpp's speed, through node-llama-cpp's prebuilt library: prints one line of JSON. See engine.py.
import {getLlama} from "node-llama-cpp";

const plan = JSON.parse(process.argv[2]);
const llama = await getLlama({gpu: false, build: "never", maxThreads: plan.threads, logLevel: "error"});
const model = await llama.loadModel({modelPath: plan.gguf, gpuLayers: 0});
const threads = {ideal: plan.threads, min: plan.threads};
const figures = {};

/** Tokens without a meaning; each base begins in another way. */
function prompt(base, length) {
    return Array.from({length}, (_, place) => ((base * 7919 + place) * 48271) % 100000 + 300);
}

/** Writes so many tokens after a prompt; gives the milliseconds from the first of them to the last. */
async function write(sequence, base) {
    await sequence.clearHistory();
    let count = 0;
    let began = 0;
    for await (const _ of sequence.evaluate(prompt(base, plan.question), {temperature: 0, yieldEogToken: true})) {
        if (count === 0) began = performance.now();
        count += 1;
        if (count >= plan.tokens) break;
    }
    return performance.now() - began;
}

{
    const contextSize = Math.max(plan.prompt_tokens, plan.question + plan.tokens) + 64;
    const context = await model.createContext({contextSize, threads, batchSize: 512, sequences: 1});
    const sequence = context.getSequence();
    // The first round warms up.
    for (const round of [0, 1]) {
        await sequence.clearHistory();
        const began = performance.now();
        await sequence.evaluateWithoutGeneratingNewTokens(prompt(round, plan.prompt_tokens));
        figures.prefill = (plan.prompt_tokens * 1000) / (performance.now() - began);
        figures.decode = ((plan.tokens - 1) * 1000) / (await write(sequence, round + 9));
    }
    await context.dispose();
}
{
    const contextSize = plan.streams * (plan.question + plan.tokens + 16);
    const context = await model.createContext({contextSize, threads, batchSize: 512, sequences: plan.streams});
    const sequences = Array.from({length: plan.streams}, () => context.getSequence());
    for (const round of [0, 1]) {
        const began = performance.now();
        await Promise.all(sequences.map((sequence, index) => write(sequence, 100 * round + index)));
        figures.concurrent = (plan.streams * plan.tokens * 1000) / (performance.now() - began);
    }
}
figures.peak = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify(figures));
process.exit(0);

// The texts in the reader's language, and numbers and times as people write them there.

import { texts as english } from "./texts.en.js";

const translations = { en: english };

export const texts = translations[navigator.language.split("-")[0]] ?? english;

const short = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const exact = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumSignificantDigits: 2 });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const number = (value) => short.format(value);
export const exactly = (value) => exact.format(value);
export const share = (value) => percent.format(value);
export const time = (text) => (text ? moment.format(new Date(text)) : texts.person.unknownTime);
